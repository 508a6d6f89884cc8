// A butterfly: all stages of a (learned) fast Fourier transform in one launch.
//
// Stage s takes the points in groups of RADIX that lie SPAN apart, SPAN being the product
// of the radices before it, and multiplies each group by its own RADIX x RADIX block
// (tied: one block for all groups at the same position within a span). A step is one
// stage, or two stages of radix 2 at once, which a thread does in registers; so the
// threadgroup meets at half as many barriers.
//
//   x        [batch, N]  complex64, or float32, float16, bfloat16: real
//   weights  [total]     complex64: blocks of all stages, each [blocks, SPAN, RADIX, RADIX]
//                        with axes (block, position, output, input); blocks is 1 if TIED,
//                        else N / (RADIX * SPAN)
//   place    [N]         int32: where the first stage finds sample n
//   scale    [1]         float32, multiplies the result
//   y        [batch, N]  complex64
//
// Template: N; STEP0 ... STEP7, ten times the first radix plus the second
// one (21: a stage of radix 2; 22: two of them; 11: no step); TIED; FRAMES, rows of x per
// threadgroup; THREADS.
// Grid: THREADS * ceil(batch / FRAMES) threads in threadgroups of THREADS (32 to 256).
// Threadgroup memory: 8 * FRAMES * N bytes, at most 16 KiB.
//
// inputs: x, weights, place, scale
// outputs: y
// shares: butterfly_blocks, butterfly_rows, butterfly_step
// [body]
threadgroup float2 points[FRAMES * N];
const int worker = thread_position_in_threadgroup.x;
const uint first = threadgroup_position_in_grid.x * FRAMES;
const uint batch = x_shape[0];

// Frames beyond the batch are silence, so that every step finds its points set.
for (int i = worker; i < FRAMES * N; i += THREADS) {
  const uint frame = first + i / N;
  const int target = i / N * N + place[i % N];
  points[target] =
      frame < batch ? read_point(x, frame * N + i % N) : float2(0.0f);
}
threadgroup_barrier(mem_flags::mem_threadgroup);

constexpr int SPAN1 = step_points(STEP0);
constexpr int SPAN2 = SPAN1 * step_points(STEP1);
constexpr int SPAN3 = SPAN2 * step_points(STEP2);
constexpr int SPAN4 = SPAN3 * step_points(STEP3);
constexpr int SPAN5 = SPAN4 * step_points(STEP4);
constexpr int SPAN6 = SPAN5 * step_points(STEP5);
constexpr int SPAN7 = SPAN6 * step_points(STEP6);
const device float2* w = (const device float2*)weights;
w = forward_step<N, STEP0, 1, TIED, FRAMES, THREADS>(points, w, worker);
w = forward_step<N, STEP1, SPAN1, TIED, FRAMES, THREADS>(points, w, worker);
w = forward_step<N, STEP2, SPAN2, TIED, FRAMES, THREADS>(points, w, worker);
w = forward_step<N, STEP3, SPAN3, TIED, FRAMES, THREADS>(points, w, worker);
w = forward_step<N, STEP4, SPAN4, TIED, FRAMES, THREADS>(points, w, worker);
w = forward_step<N, STEP5, SPAN5, TIED, FRAMES, THREADS>(points, w, worker);
w = forward_step<N, STEP6, SPAN6, TIED, FRAMES, THREADS>(points, w, worker);
w = forward_step<N, STEP7, SPAN7, TIED, FRAMES, THREADS>(points, w, worker);

for (int i = worker; i < FRAMES * N; i += THREADS) {
  const uint frame = first + i / N;
  if (frame < batch) {
    ((device float2*)y)[frame * N + i % N] = points[i] * scale[0];
  }
}
