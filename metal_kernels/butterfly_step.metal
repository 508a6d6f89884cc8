// Shared by butterfly.metal and log_mel.metal: one step over all frames of a threadgroup.
// [header]
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
  if (is_absent(STEP)) {
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
