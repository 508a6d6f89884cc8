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
//   scale    []          float32, multiplies the result
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
// [header]
inline float2 read_point(const device complex64_t* x, uint i) {
  return ((const device float2*)x)[i];
}
inline float2 read_point(const device float* x, uint i) {
  return float2(x[i], 0.0f);
}
inline float2 read_point(const device float16_t* x, uint i) {
  return float2(float(x[i]), 0.0f);
}
inline float2 read_point(const device bfloat16_t* x, uint i) {
  return float2(float(x[i]), 0.0f);
}

inline float2 times(float2 a, float2 b) {
  return float2(a.x * b.x - a.y * b.y, a.x * b.y + a.y * b.x);
}

// The two radices of a step, the points of one group of it, and how many blocks' numbers
// its stages have.
constexpr int first_radix(int step) {
  return step / 10;
}
constexpr int second_radix(int step) {
  return step % 10;
}
constexpr int step_points(int step) {
  return first_radix(step) * second_radix(step);
}
constexpr int stage_numbers(int n, int radix, int span, bool tied) {
  return tied ? span * radix * radix : n * radix;
}
constexpr int step_numbers(int n, int step, int span, bool tied) {
  return step == 11 ? 0
                    : stage_numbers(n, first_radix(step), span, tied) +
          (second_radix(step) == 1
               ? 0
               : stage_numbers(n, second_radix(step), span * first_radix(step), tied));
}

// Copy COUNT blocks, STRIDE apart, into registers.
template <int RADIX, int COUNT>
inline void load_blocks(
    const device float2* weights,
    int first,
    int stride,
    thread float2* blocks) {
  constexpr int SIZE = RADIX * RADIX;
#pragma unroll
  for (int k = 0; k < COUNT; ++k) {
#pragma unroll
    for (int i = 0; i < SIZE; ++i) {
      blocks[k * SIZE + i] = weights[(first + k * stride) * SIZE + i];
    }
  }
}

// Multiply RADIX values that lie STRIDE apart by a block.
template <int RADIX, int STRIDE>
inline void apply_block(const thread float2* block, thread float2* values) {
  float2 inputs[RADIX];
#pragma unroll
  for (int p = 0; p < RADIX; ++p) {
    inputs[p] = values[p * STRIDE];
  }
#pragma unroll
  for (int q = 0; q < RADIX; ++q) {
    float2 sum = times(block[q * RADIX], inputs[0]);
#pragma unroll
    for (int p = 1; p < RADIX; ++p) {
      sum += times(block[q * RADIX + p], inputs[p]);
    }
    values[q * STRIDE] = sum;
  }
}

// The blocks of one group of a step: those of the first stage follow each other by a
// whole span, or are one and the same; those of the second lie at positions of its span.
template <int N, int STEP, int SPAN, bool TIED>
inline void load_step(
    const device float2* weights,
    int group,
    int position,
    thread float2* first_blocks,
    thread float2* second_blocks) {
  constexpr int A = first_radix(STEP);
  constexpr int B = second_radix(STEP);
  load_blocks<A, B>(
      weights,
      TIED ? position : group * B * SPAN + position,
      TIED ? 0 : SPAN,
      first_blocks);
  if (B > 1) {
    load_blocks<B, A>(
        weights + stage_numbers(N, A, SPAN, TIED),
        TIED ? position : group * A * SPAN + position,
        SPAN,
        second_blocks);
  }
}

// Value b * A + a of a group: its first stage mixes a, its second stage b.
template <int A, int B>
inline void apply_first(const thread float2* blocks, thread float2* values) {
#pragma unroll
  for (int b = 0; b < B; ++b) {
    apply_block<A, 1>(blocks + b * A * A, values + b * A);
  }
}
template <int A, int B>
inline void apply_second(const thread float2* blocks, thread float2* values) {
  if (B > 1) {
#pragma unroll
    for (int a = 0; a < A; ++a) {
      apply_block<B, A>(blocks + a * B * B, values + a);
    }
  }
}

// One step over all frames of the threadgroup, in place. Threads stand side by side over
// the groups of a frame; those left over take further frames, and each keeps its blocks
// in registers from frame to frame. Returns the weights of the next step.
template <int N, int STEP, int SPAN, bool TIED, int FRAMES, int THREADS>
inline const device float2* forward_step(
    threadgroup float2* points,
    const device float2* weights,
    int worker) {
  constexpr int A = first_radix(STEP);
  constexpr int B = second_radix(STEP);
  constexpr int GROUPS = N / (A * B);
  constexpr int ROW = GROUPS < THREADS ? GROUPS : THREADS;
  constexpr int ROWS = THREADS / ROW;
  if (STEP == 11) {
    return weights;
  }
  const int row = worker / ROW;
  if (row < ROWS) {
    for (int item = worker % ROW; item < GROUPS; item += ROW) {
      const int position = item % SPAN;
      const int group = item / SPAN;
      float2 first_blocks[A * A * B];
      float2 second_blocks[B * B * A];
      load_step<N, STEP, SPAN, TIED>(
          weights, group, position, first_blocks, second_blocks);
      for (int frame = row; frame < FRAMES; frame += ROWS) {
        threadgroup float2* own =
            points + frame * N + group * (A * B * SPAN) + position;
        float2 values[A * B];
#pragma unroll
        for (int i = 0; i < A * B; ++i) {
          values[i] = own[i * SPAN];
        }
        apply_first<A, B>(first_blocks, values);
        apply_second<A, B>(second_blocks, values);
#pragma unroll
        for (int i = 0; i < A * B; ++i) {
          own[i * SPAN] = values[i];
        }
      }
    }
  }
  threadgroup_barrier(mem_flags::mem_threadgroup);
  return weights + step_numbers(N, STEP, SPAN, TIED);
}
// [body]
threadgroup float2 points[FRAMES * N];
const int worker = thread_position_in_threadgroup.x;
const uint first = threadgroup_position_in_grid.x * FRAMES;
const uint batch = x_shape[0];

// Frames beyond the batch are silence, so that every step finds its points set.
for (int i = worker; i < FRAMES * N; i += THREADS) {
  const uint frame = first + i / N;
  points[i / N * N + place[i % N]] =
      frame < batch ? read_point(x, frame * N + i % N) : float2(0.0f, 0.0f);
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
    ((device float2*)y)[frame * N + i % N] = points[i] * scale;
  }
}
