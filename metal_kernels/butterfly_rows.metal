// Shared by butterfly.metal and butterfly_backward.metal: one number of a row of x, whose
// dtype is complex64, float32, float16 or bfloat16.
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
