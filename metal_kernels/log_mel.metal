// Log-mel spectrogram of padded samples in one launch: window, real FFT, magnitude,
// filterbank, logarithm.
//
// A frame of 2 N samples becomes N complex points (even samples real, odd ones imaginary),
// the butterfly of those is taken in threadgroup memory, and two weights per bin take the
// spectra of even and odd samples apart: X[k] = a[k] Z[k] + b[k] conj(Z[N - k]). Only the
// magnitudes stay, in place of the points; bins 0 and N share a point.
//
//   samples       [batch, length]  float32, float16 or bfloat16
//   window        [2 N]            float32
//   weights       [total]          complex64: blocks of the butterfly, as of
//                                  butterfly.metal
//   place         [N]              int32, as of butterfly.metal
//   untangling    [2, N + 1]       complex64: a and b
//   band_start    [bands]          int32: first bin of each mel band
//   band_numbers  [bands + 1]      int32: where each band's numbers begin in filters
//   filters       [numbers]        float32: weights of the bins of all bands
//   frame_count   [1]              int32: frames per row, each HOP samples on
//   limits        [2]              float32: added to the square under the root; smallest
//                                  value before the logarithm
//   logs          [batch, frame_count, bands]  float32
//
// Template: N, STEP0 ... STEP7, TIED, FRAMES, THREADS as of butterfly.metal; HOP; POWER, 1
// for magnitudes and 2 for their squares; TEN, logarithms to base 10 instead of e.
// Grid: THREADS * ceil(batch * frame_count / FRAMES) threads in threadgroups of THREADS
// (32 to 256).
// Threadgroup memory: 8 * FRAMES * N bytes, at most 16 KiB.
//
// inputs: samples, window, weights, place, untangling, band_start, band_numbers, filters, frame_count, limits
// outputs: logs
// shares: butterfly_blocks, butterfly_step
// [header]
// a * z + b * conj(mirror), as a magnitude or its square.
template <int POWER>
inline float bin_magnitude(float2 a, float2 z, float2 b, float2 mirror, float eps) {
  const float2 bin = times(a, z) + times(b, float2(mirror.x, -mirror.y));
  const float square = bin.x * bin.x + bin.y * bin.y;
  return POWER == 2 ? square : sqrt(square + eps);
}
// [body]
threadgroup float2 points[FRAMES * N];
const int worker = thread_position_in_threadgroup.x;
const uint first = threadgroup_position_in_grid.x * FRAMES;
const uint rows = samples_shape[0];
const uint row_length = samples_shape[1];
const uint per_row = frame_count[0];
const int bands = band_start_shape[0];

// Frames beyond the last one are silence.
for (int i = worker; i < FRAMES * N; i += THREADS) {
  const uint frame = first + i / N;
  const int pair = i % N;
  float2 value = float2(0.0f);
  if (frame < rows * per_row) {
    const uint at = frame / per_row * row_length + frame % per_row * HOP + 2 * pair;
    value = float2(
        float(samples[at]) * window[2 * pair],
        float(samples[at + 1]) * window[2 * pair + 1]);
  }
  const int target = i / N * N + place[pair];
  points[target] = value;
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

// Bins k and N - k need the same two points, so one thread puts both back.
constexpr int PAIRS = N / 2 + 1;
const device float2* a = (const device float2*)untangling;
const device float2* b = a + N + 1;
for (int i = worker; i < FRAMES * PAIRS; i += THREADS) {
  const int k = i % PAIRS;
  threadgroup float2* frame = points + i / PAIRS * N;
  const int mirror = k == 0 ? 0 : N - k;
  const float2 z = frame[k];
  const float2 other = frame[mirror];
  const float low = bin_magnitude<POWER>(a[k], z, b[k], other, limits[0]);
  const float high = bin_magnitude<POWER>(a[N - k], other, b[N - k], z, limits[0]);
  if (k == 0) {
    frame[0] = float2(low, high);
  } else {
    frame[k].x = low;
    frame[mirror].x = high;
  }
}
threadgroup_barrier(mem_flags::mem_threadgroup);

for (int i = worker; i < FRAMES * bands; i += THREADS) {
  const uint frame = first + i / bands;
  if (frame < rows * per_row) {
    const threadgroup float2* bins = points + i / bands * N;
    const int band = i % bands;
    const int start = band_start[band];
    const int begin = band_numbers[band];
    const int count = band_numbers[band + 1] - begin;
    float sum = 0.0f;
    for (int j = 0; j < count; ++j) {
      const int k = start + j;
      sum += filters[begin + j] * (k == N ? bins[0].y : bins[k].x);
    }
    // No `max`: what is not a number stays so.
    const float bounded = sum < limits[1] ? limits[1] : sum;
    logs[frame * bands + band] = TEN ? log10(bounded) : log(bounded);
  }
}
