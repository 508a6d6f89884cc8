// What the three kernels of fused_qkv share.

// [header]
// Mean and reciprocal standard deviation of a row, by all lanes of a SIMD group: the
// mean first, then the variance around it.
template <typename T>
inline float2 row_statistics(
    const device T* row, uint channels, uint lane, float epsilon) {
    float total = 0.0f;
    for (uint c = lane; c < channels; c += 32) {
        total += float(row[c]);
    }
    const float mean = simd_sum(total) / float(channels);
    float squares = 0.0f;
    for (uint c = lane; c < channels; c += 32) {
        const float centred = float(row[c]) - mean;
        squares += centred * centred;
    }
    const float variance = simd_sum(squares) / float(channels);
    return float2(mean, precise::rsqrt(variance + epsilon));
}

// Where a channel of a row lies in [batch, heads, length, head channels].
inline uint place_in_heads(
    uint row, uint channel, uint length, uint n_heads, uint head_channels) {
    const uint head = row / length * n_heads + channel / head_channels;
    return (head * length + row % length) * head_channels + channel % head_channels;
}
