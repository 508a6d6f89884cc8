// Queries, keys and values of a few rows: a matrix-vector product for decoding.
//
// y[row, n] = sum over k of normalised(x)[row, k] * weight[n, k] + bias[n]
//
// Buffers
//   x        [batch, length, CHANNELS]
//   weight   [3 * PART, CHANNELS], rows of queries, then of keys, then of values
//   bias     [3 * PART]; not read unless BIAS
//   gamma    [CHANNELS]; gamma and beta are not read unless NORM
//   beta     [CHANNELS]
//   epsilon  one float, added to the variance
//   q, k, v  [batch, PART / HEAD_CHANNELS, length, HEAD_CHANNELS], written whole
// Template: T (type of all arrays but epsilon), CHANNELS (a multiple of 4), PART,
//   HEAD_CHANNELS, BLOCK_ROWS (1 to 4), NORM, BIAS
// Grid: (ceil(3 * PART / 32) * 256, ceil(batch * length / BLOCK_ROWS), 1) threads in
//   groups of (256, 1, 1): 8 SIMD groups, each with 4 outputs of BLOCK_ROWS rows.
// Threadgroup memory: 8 * BLOCK_ROWS bytes. Sums are float32.

// inputs: x, weight, bias, gamma, beta, epsilon
// outputs: q, k, v
// shares: fused_qkv_parts

// [body]
    constexpr uint SIMD_GROUPS = 8;
    constexpr uint OUTPUTS = 4;
    constexpr uint N_OUTPUTS = 3 * PART;
    constexpr uint N_HEADS = PART / HEAD_CHANNELS;
    threadgroup float2 statistics[BLOCK_ROWS];

    const uint lane = thread_index_in_simdgroup;
    const uint simd = simdgroup_index_in_threadgroup;
    const uint length = uint(x_shape[1]);
    const uint n_rows = uint(x_shape[0]) * length;
    const uint first_row = threadgroup_position_in_grid.y * BLOCK_ROWS;
    const uint first_output =
        (threadgroup_position_in_grid.x * SIMD_GROUPS + simd) * OUTPUTS;

    if (NORM) {
        // One SIMD group for each row.
        if (simd < uint(BLOCK_ROWS)) {
            const uint row = min(first_row + simd, n_rows - 1);
            const float2 found =
                row_statistics(x + row * CHANNELS, CHANNELS, lane, epsilon);
            if (lane == 0) {
                statistics[simd] = found;
            }
        }
        threadgroup_barrier(mem_flags::mem_threadgroup);
    }

    float sums[BLOCK_ROWS][OUTPUTS];
    for (uint r = 0; r < uint(BLOCK_ROWS); ++r) {
        for (uint o = 0; o < OUTPUTS; ++o) {
            sums[r][o] = 0.0f;
        }
    }
    // Rows and outputs beyond the last repeat the last one and are not stored.
    for (uint k = lane * 4; k < uint(CHANNELS); k += 128) {
        float4 weights[OUTPUTS];
        for (uint o = 0; o < OUTPUTS; ++o) {
            const uint n = min(first_output + o, N_OUTPUTS - 1);
            weights[o] = float4(*(const device vec<T, 4>*)(weight + n * CHANNELS + k));
        }
        float4 scale = float4(1.0f);
        float4 shift = float4(0.0f);
        if (NORM) {
            scale = float4(*(const device vec<T, 4>*)(gamma + k));
            shift = float4(*(const device vec<T, 4>*)(beta + k));
        }
        for (uint r = 0; r < uint(BLOCK_ROWS); ++r) {
            const uint row = min(first_row + r, n_rows - 1);
            float4 values = float4(*(const device vec<T, 4>*)(x + row * CHANNELS + k));
            if (NORM) {
                values = (values - statistics[r].x) * statistics[r].y * scale + shift;
            }
            for (uint o = 0; o < OUTPUTS; ++o) {
                sums[r][o] += dot(values, weights[o]);
            }
        }
    }

    // Lane r * OUTPUTS + o keeps the sum of row r and output o, and stores it.
    float mine = 0.0f;
    for (uint r = 0; r < uint(BLOCK_ROWS); ++r) {
        for (uint o = 0; o < OUTPUTS; ++o) {
            const float sum = simd_sum(sums[r][o]);
            if (lane == r * OUTPUTS + o) {
                mine = sum;
            }
        }
    }
    const uint row = first_row + lane / OUTPUTS;
    const uint n = first_output + lane % OUTPUTS;
    if (lane < uint(BLOCK_ROWS) * OUTPUTS && row < n_rows && n < N_OUTPUTS) {
        if (BIAS) {
            mine += float(bias[n]);
        }
        const uint place =
            place_in_heads(row, n % PART, length, N_HEADS, HEAD_CHANNELS);
        device T* target = n < uint(PART) ? q : (n < 2 * uint(PART) ? k : v);
        target[place] = static_cast<T>(mine);
    }
