// Shared by the kernels that take butterflies: steps and their blocks.
//
// A step is one stage, or two stages of radix 2 at once, which a thread does in registers.
// As a number it is ten times the radix of its first stage A plus that of its second stage
// B: 21 is a stage of radix 2, 22 two of them, 11 no step.
// [header]
inline float2 times(float2 a, float2 b) {
  return float2(a.x * b.x - a.y * b.y, a.x * b.y + a.y * b.x);
}

// The two radices of a step, the points of one group of it, and how many blocks' numbers
// its stages have.
inline constexpr int first_radix(int step) {
  return step / 10;
}
inline constexpr int second_radix(int step) {
  return step % 10;
}
inline constexpr int step_points(int step) {
  return first_radix(step) * second_radix(step);
}
inline constexpr bool is_absent(int step) {
  return step == 11;
}
inline constexpr int stage_numbers(int n, int radix, int span, bool tied) {
  return tied ? span * radix * radix : n * radix;
}
inline constexpr int step_numbers(int n, int step, int span, bool tied) {
  return stage_numbers(n, first_radix(step), span, tied) +
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
