// Gradients of a butterfly (butterfly.metal) for its input and for its blocks.
//
// A threadgroup goes through its share of the batch, FRAMES rows at a time. For each it
// runs the stages again and keeps what every step read, then goes back through the steps.
// A thread meets the same groups of points in both directions, so it alone reads what it
// kept, and it alone adds to the gradients of its blocks: no atomics, no exchange. The
// partial sums of the threadgroups are added up by MLX.
//
//   x          [batch, N]     as of butterfly.metal
//   weights    [total]        complex64, as of butterfly.metal
//   place      [N]            int32, as of butterfly.metal
//   cotangent  [batch, N]     complex64: gradient for y
//   scale      [1]            float32
//   x_gradient [batch, N]     of x's dtype
//   partial    [groups, N * (sum of the radices)]  complex64: gradients of all blocks in
//                             the order of untied weights (tied ones are summed by MLX)
//   kept       [groups, STEPS, FRAMES, N]  complex64: what the steps read; scratch
//
// Template: as of butterfly.metal, and STEPS, the number of steps that are not 11.
// Grid: THREADS * groups threads in threadgroups of THREADS (32 to 128), groups being at
// most ceil(batch / FRAMES).
// Threadgroup memory: 8 * FRAMES * N bytes, at most 16 KiB.
//
// inputs: x, weights, place, cotangent, scale
// outputs: x_gradient, partial, kept
// shares: butterfly_blocks, butterfly_rows
// [header]
inline void write_point(device complex64_t* target, uint i, float2 value) {
  ((device float2*)target)[i] = value;
}
inline void write_point(device float* target, uint i, float2 value) {
  target[i] = value.x;
}
inline void write_point(device float16_t* target, uint i, float2 value) {
  target[i] = static_cast<float16_t>(value.x);
}
inline void write_point(device bfloat16_t* target, uint i, float2 value) {
  target[i] = static_cast<bfloat16_t>(value.x);
}

// Numbers of a step's untied blocks: the gradients of any blocks have as many.
inline constexpr int untied_numbers(int n, int step) {
  return is_absent(step)
      ? 0
      : n * (first_radix(step) + (second_radix(step) == 1 ? 0 : second_radix(step)));
}

// The cotangent of an addend a * b for a.
inline float2 times_conjugate(float2 cotangent, float2 b) {
  return float2(
      cotangent.x * b.x + cotangent.y * b.y, cotangent.y * b.x - cotangent.x * b.y);
}

// From cotangents of a block's outputs to those of its inputs, STRIDE apart and in place;
// the block's own gradient is added to sums.
template <int RADIX, int STRIDE>
inline void reverse_block(
    const thread float2* block,
    const thread float2* inputs,
    thread float2* cotangents,
    thread float2* sums) {
  float2 outputs[RADIX];
#pragma unroll
  for (int q = 0; q < RADIX; ++q) {
    outputs[q] = cotangents[q * STRIDE];
  }
#pragma unroll
  for (int p = 0; p < RADIX; ++p) {
    float2 sum = times_conjugate(outputs[0], block[p]);
#pragma unroll
    for (int q = 1; q < RADIX; ++q) {
      sum += times_conjugate(outputs[q], block[q * RADIX + p]);
    }
    cotangents[p * STRIDE] = sum;
  }
#pragma unroll
  for (int q = 0; q < RADIX; ++q) {
#pragma unroll
    for (int p = 0; p < RADIX; ++p) {
      sums[q * RADIX + p] += times_conjugate(outputs[q], inputs[p * STRIDE]);
    }
  }
}

// Add the gradients of COUNT blocks, STRIDE apart; the first time, set them.
template <int RADIX, int COUNT>
inline void store_sums(
    device float2* partial,
    int first,
    int stride,
    bool add,
    const thread float2* sums) {
  constexpr int SIZE = RADIX * RADIX;
#pragma unroll
  for (int k = 0; k < COUNT; ++k) {
#pragma unroll
    for (int i = 0; i < SIZE; ++i) {
      device float2* target = partial + (first + k * stride) * SIZE + i;
      *target = add ? *target + sums[k * SIZE + i] : sums[k * SIZE + i];
    }
  }
}

// One step over all frames, its inputs kept first. The last step has no reader.
template <int N, int STEP, int SPAN, bool TIED, bool LAST, int FRAMES, int THREADS>
inline const device float2* keeping_step(
    threadgroup float2* points,
    const device float2* weights,
    device float2* kept,
    int worker) {
  constexpr int A = first_radix(STEP);
  constexpr int B = second_radix(STEP);
  constexpr int GROUPS = N / (A * B);
  if (is_absent(STEP)) {
    return weights;
  }
  for (int item = worker; item < GROUPS; item += THREADS) {
    const int position = item % SPAN;
    const int group = item / SPAN;
    float2 first_blocks[A * A * B];
    float2 second_blocks[B * B * A];
    load_step<N, STEP, SPAN, TIED>(
        weights, group, position, first_blocks, second_blocks);
    for (int frame = 0; frame < FRAMES; ++frame) {
      threadgroup float2* own = points + frame * N + group * (A * B * SPAN) + position;
      float2 values[A * B];
#pragma unroll
      for (int i = 0; i < A * B; ++i) {
        values[i] = own[i * SPAN];
        kept[frame * N + i * GROUPS + item] = values[i];
      }
      if (!LAST) {
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

// One step back over all frames, in place.
template <int N, int STEP, int SPAN, bool TIED, int FRAMES, int THREADS>
inline void backward_step(
    threadgroup float2* points,
    const device float2* weights,
    const device float2* kept,
    device float2* partial,
    bool add,
    int worker) {
  constexpr int A = first_radix(STEP);
  constexpr int B = second_radix(STEP);
  constexpr int GROUPS = N / (A * B);
  if (is_absent(STEP)) {
    return;
  }
  for (int item = worker; item < GROUPS; item += THREADS) {
    const int position = item % SPAN;
    const int group = item / SPAN;
    float2 first_blocks[A * A * B];
    float2 second_blocks[B * B * A];
    float2 first_sums[A * A * B];
    float2 second_sums[B * B * A];
    load_step<N, STEP, SPAN, TIED>(
        weights, group, position, first_blocks, second_blocks);
#pragma unroll
    for (int i = 0; i < A * A * B; ++i) {
      first_sums[i] = float2(0.0f);
    }
#pragma unroll
    for (int i = 0; i < B * B * A; ++i) {
      second_sums[i] = float2(0.0f);
    }
    for (int frame = 0; frame < FRAMES; ++frame) {
      threadgroup float2* own = points + frame * N + group * (A * B * SPAN) + position;
      float2 inputs[A * B];
      float2 cotangents[A * B];
#pragma unroll
      for (int i = 0; i < A * B; ++i) {
        inputs[i] = kept[frame * N + i * GROUPS + item];
        cotangents[i] = own[i * SPAN];
      }
      if (B > 1) {
        float2 between[A * B];
#pragma unroll
        for (int i = 0; i < A * B; ++i) {
          between[i] = inputs[i];
        }
        apply_first<A, B>(first_blocks, between);
#pragma unroll
        for (int a = 0; a < A; ++a) {
          reverse_block<B, A>(
              second_blocks + a * B * B,
              between + a,
              cotangents + a,
              second_sums + a * B * B);
        }
      }
#pragma unroll
      for (int b = 0; b < B; ++b) {
        reverse_block<A, 1>(
            first_blocks + b * A * A,
            inputs + b * A,
            cotangents + b * A,
            first_sums + b * A * A);
      }
#pragma unroll
      for (int i = 0; i < A * B; ++i) {
        own[i * SPAN] = cotangents[i];
      }
    }
    store_sums<A, B>(partial, group * B * SPAN + position, SPAN, add, first_sums);
    if (B > 1) {
      store_sums<B, A>(
          partial + stage_numbers(N, A, SPAN, false),
          group * A * SPAN + position,
          SPAN,
          add,
          second_sums);
    }
  }
  threadgroup_barrier(mem_flags::mem_threadgroup);
}
// [body]
threadgroup float2 points[FRAMES * N];
const int worker = thread_position_in_threadgroup.x;
const uint own_group = threadgroup_position_in_grid.x;
const uint groups = threadgroups_per_grid.x;
const uint batch = x_shape[0];

constexpr int SPAN1 = step_points(STEP0);
constexpr int SPAN2 = SPAN1 * step_points(STEP1);
constexpr int SPAN3 = SPAN2 * step_points(STEP2);
constexpr int SPAN4 = SPAN3 * step_points(STEP3);
constexpr int SPAN5 = SPAN4 * step_points(STEP4);
constexpr int SPAN6 = SPAN5 * step_points(STEP5);
constexpr int SPAN7 = SPAN6 * step_points(STEP6);
// Where the gradients of each step begin among those of a threadgroup.
constexpr int SUM1 = untied_numbers(N, STEP0);
constexpr int SUM2 = SUM1 + untied_numbers(N, STEP1);
constexpr int SUM3 = SUM2 + untied_numbers(N, STEP2);
constexpr int SUM4 = SUM3 + untied_numbers(N, STEP3);
constexpr int SUM5 = SUM4 + untied_numbers(N, STEP4);
constexpr int SUM6 = SUM5 + untied_numbers(N, STEP5);
constexpr int SUM7 = SUM6 + untied_numbers(N, STEP6);
constexpr int TOTAL = SUM7 + untied_numbers(N, STEP7);
constexpr int ROUND = FRAMES * N;
device float2* sums = (device float2*)partial + own_group * TOTAL;
device float2* own_kept = (device float2*)kept + own_group * (STEPS * ROUND);

for (uint first = own_group * FRAMES; first < batch; first += groups * FRAMES) {
  for (int i = worker; i < ROUND; i += THREADS) {
    const uint frame = first + i / N;
    const int target = i / N * N + place[i % N];
    points[target] =
        frame < batch ? read_point(x, frame * N + i % N) : float2(0.0f);
  }
  threadgroup_barrier(mem_flags::mem_threadgroup);

  const device float2* w0 = (const device float2*)weights;
  const device float2* w1 =
      keeping_step<N, STEP0, 1, TIED, is_absent(STEP1), FRAMES, THREADS>(
      points, w0, own_kept, worker);
  const device float2* w2 =
      keeping_step<N, STEP1, SPAN1, TIED, is_absent(STEP2), FRAMES, THREADS>(
      points, w1, own_kept + 1 * ROUND, worker);
  const device float2* w3 =
      keeping_step<N, STEP2, SPAN2, TIED, is_absent(STEP3), FRAMES, THREADS>(
      points, w2, own_kept + 2 * ROUND, worker);
  const device float2* w4 =
      keeping_step<N, STEP3, SPAN3, TIED, is_absent(STEP4), FRAMES, THREADS>(
      points, w3, own_kept + 3 * ROUND, worker);
  const device float2* w5 =
      keeping_step<N, STEP4, SPAN4, TIED, is_absent(STEP5), FRAMES, THREADS>(
      points, w4, own_kept + 4 * ROUND, worker);
  const device float2* w6 =
      keeping_step<N, STEP5, SPAN5, TIED, is_absent(STEP6), FRAMES, THREADS>(
      points, w5, own_kept + 5 * ROUND, worker);
  const device float2* w7 =
      keeping_step<N, STEP6, SPAN6, TIED, is_absent(STEP7), FRAMES, THREADS>(
      points, w6, own_kept + 6 * ROUND, worker);
  keeping_step<N, STEP7, SPAN7, TIED, true, FRAMES, THREADS>(
      points, w7, own_kept + 7 * ROUND, worker);

  for (int i = worker; i < ROUND; i += THREADS) {
    const uint frame = first + i / N;
    points[i] = frame < batch
        ? ((const device float2*)cotangent)[frame * N + i % N] * scale[0]
        : float2(0.0f);
  }
  threadgroup_barrier(mem_flags::mem_threadgroup);

  const bool add = first >= groups * FRAMES;
  backward_step<N, STEP7, SPAN7, TIED, FRAMES, THREADS>(
      points, w7, own_kept + 7 * ROUND, sums + SUM7, add, worker);
  backward_step<N, STEP6, SPAN6, TIED, FRAMES, THREADS>(
      points, w6, own_kept + 6 * ROUND, sums + SUM6, add, worker);
  backward_step<N, STEP5, SPAN5, TIED, FRAMES, THREADS>(
      points, w5, own_kept + 5 * ROUND, sums + SUM5, add, worker);
  backward_step<N, STEP4, SPAN4, TIED, FRAMES, THREADS>(
      points, w4, own_kept + 4 * ROUND, sums + SUM4, add, worker);
  backward_step<N, STEP3, SPAN3, TIED, FRAMES, THREADS>(
      points, w3, own_kept + 3 * ROUND, sums + SUM3, add, worker);
  backward_step<N, STEP2, SPAN2, TIED, FRAMES, THREADS>(
      points, w2, own_kept + 2 * ROUND, sums + SUM2, add, worker);
  backward_step<N, STEP1, SPAN1, TIED, FRAMES, THREADS>(
      points, w1, own_kept + 1 * ROUND, sums + SUM1, add, worker);
  backward_step<N, STEP0, 1, TIED, FRAMES, THREADS>(
      points, w0, own_kept, sums, add, worker);

  // No barrier behind this: each place is read by the thread that sets it next.
  for (int i = worker; i < ROUND; i += THREADS) {
    const uint frame = first + i / N;
    if (frame < batch) {
      const int source = i / N * N + place[i % N];
      write_point(x_gradient, frame * N + i % N, points[source]);
    }
  }
}
