// Queries, keys and values of many rows: a tiled matrix product after a layer norm.
//
// y[row, n] = sum over c of normalised(x)[row, c] * weight[n, c] + bias[n]
//
// Buffers
//   x        [batch, length, CHANNELS]
//   weight   [3 * PART, CHANNELS], rows of queries, then of keys, then of values
//   bias     [3 * PART]; not read unless BIAS
//   gamma    [CHANNELS]; gamma and beta are not read unless NORM
//   beta     [CHANNELS]
//   epsilon  one float, added to the variance
//   q, k, v  [batch, PART / HEAD_CHANNELS, length, HEAD_CHANNELS], written whole
// Template: T (type of all arrays but epsilon), CHANNELS, PART, HEAD_CHANNELS, NORM, BIAS
// Grid: (ceil(3 * PART / 64) * 128, ceil(batch * length / 32), 1) threads in groups of
//   (128, 1, 1): a tile of 32 rows and 64 outputs; each of the four SIMD groups has
//   16 rows and 32 outputs of it as eight 8 x 8 matrices.
// Threadgroup memory: 8960 bytes. Products and sums are float32.

// inputs: x, weight, bias, gamma, beta, epsilon
// outputs: q, k, v
// shares: fused_qkv_parts

// [body]
    constexpr uint ROWS = 32;
    constexpr uint OUTPUTS = 64;
    constexpr uint DEPTH = 16;
    constexpr uint SPAN = 128;
    constexpr uint SIMD_GROUPS = 4;
    constexpr uint THREADS = 32 * SIMD_GROUPS;
    constexpr uint N_OUTPUTS = 3 * PART;
    constexpr uint N_HEADS = PART / HEAD_CHANNELS;
    // More columns than needed keep neighbouring rows in different banks.
    constexpr uint PADDING = 4;
    constexpr uint X_STRIDE = DEPTH + PADDING;
    constexpr uint OUTPUT_STRIDE = OUTPUTS + PADDING;
    constexpr uint W_START = ROWS * X_STRIDE;
    // First slices of x and of the weights, transposed; in the end the results.
    threadgroup float tile[ROWS * OUTPUT_STRIDE];
    threadgroup float2 statistics[ROWS];

    const uint thread_index = thread_index_in_threadgroup;
    const uint lane = thread_index_in_simdgroup;
    const uint simd = simdgroup_index_in_threadgroup;
    const uint length = uint(x_shape[1]);
    const uint n_rows = uint(x_shape[0]) * length;
    const uint first_row = threadgroup_position_in_grid.y * ROWS;
    const uint first_output = threadgroup_position_in_grid.x * OUTPUTS;

    if (NORM) {
        // Each SIMD group takes every fourth row; rows beyond the last repeat it.
        for (uint r = simd; r < ROWS; r += SIMD_GROUPS) {
            const uint row = min(first_row + r, n_rows - 1);
            const float2 found =
                row_statistics(x + row * CHANNELS, CHANNELS, lane, epsilon);
            if (lane == 0) {
                statistics[r] = found;
            }
        }
        threadgroup_barrier(mem_flags::mem_threadgroup);
    }

    simdgroup_matrix<float, 8, 8> totals[2][4];
    for (uint i = 0; i < 2; ++i) {
        for (uint j = 0; j < 4; ++j) {
            totals[i][j] = make_filled_simdgroup_matrix<float, 8>(0.0f);
        }
    }
    const uint simd_row = simd / 2 * 16;
    const uint simd_output = simd % 2 * 32;

    // Sums of SPAN products are added up: a single sum of all would round worse. Rows
    // and outputs beyond the last repeat it and are not stored; channels beyond the last
    // repeat it too and meet weights of zero.
    for (uint span = 0; span < uint(CHANNELS); span += SPAN) {
        simdgroup_matrix<float, 8, 8> sums[2][4];
        for (uint i = 0; i < 2; ++i) {
            for (uint j = 0; j < 4; ++j) {
                sums[i][j] = make_filled_simdgroup_matrix<float, 8>(0.0f);
            }
        }
        const uint end = min(span + SPAN, uint(CHANNELS));
        for (uint start = span; start < end; start += DEPTH) {
            for (uint i = thread_index; i < ROWS * DEPTH; i += THREADS) {
                const uint row = min(first_row + i / DEPTH, n_rows - 1);
                const uint c = min(start + i % DEPTH, uint(CHANNELS) - 1);
                float value = float(x[row * CHANNELS + c]);
                if (NORM) {
                    const float2 found = statistics[i / DEPTH];
                    value =
                        (value - found.x) * found.y * float(gamma[c]) + float(beta[c]);
                }
                tile[i / DEPTH * X_STRIDE + i % DEPTH] = value;
            }
            for (uint i = thread_index; i < OUTPUTS * DEPTH; i += THREADS) {
                const uint n = min(first_output + i / DEPTH, N_OUTPUTS - 1);
                const uint c = start + i % DEPTH;
                float value = 0.0f;
                if (c < uint(CHANNELS)) {
                    value = float(weight[n * CHANNELS + c]);
                }
                tile[W_START + i % DEPTH * OUTPUT_STRIDE + i / DEPTH] = value;
            }
            threadgroup_barrier(mem_flags::mem_threadgroup);
            for (uint d = 0; d < DEPTH; d += 8) {
                simdgroup_matrix<float, 8, 8> left[2];
                simdgroup_matrix<float, 8, 8> right[4];
                for (uint i = 0; i < 2; ++i) {
                    simdgroup_load(
                        left[i], &tile[(simd_row + 8 * i) * X_STRIDE + d], X_STRIDE);
                }
                for (uint j = 0; j < 4; ++j) {
                    simdgroup_load(
                        right[j],
                        &tile[W_START + d * OUTPUT_STRIDE + simd_output + 8 * j],
                        OUTPUT_STRIDE);
                }
                for (uint i = 0; i < 2; ++i) {
                    for (uint j = 0; j < 4; ++j) {
                        simdgroup_multiply_accumulate(
                            sums[i][j], left[i], right[j], sums[i][j]);
                    }
                }
            }
            threadgroup_barrier(mem_flags::mem_threadgroup);
        }
        for (uint i = 0; i < 2; ++i) {
            for (uint j = 0; j < 4; ++j) {
                for (uint e = 0; e < 2; ++e) {
                    totals[i][j].thread_elements()[e] +=
                        sums[i][j].thread_elements()[e];
                }
            }
        }
    }

    for (uint i = 0; i < 2; ++i) {
        for (uint j = 0; j < 4; ++j) {
            simdgroup_store(
                totals[i][j],
                &tile[(simd_row + 8 * i) * OUTPUT_STRIDE + simd_output + 8 * j],
                OUTPUT_STRIDE);
        }
    }
    threadgroup_barrier(mem_flags::mem_threadgroup);
    for (uint i = thread_index; i < ROWS * OUTPUTS; i += THREADS) {
        const uint row = first_row + i / OUTPUTS;
        const uint n = first_output + i % OUTPUTS;
        if (row < n_rows && n < N_OUTPUTS) {
            float value = tile[i / OUTPUTS * OUTPUT_STRIDE + i % OUTPUTS];
            if (BIAS) {
                value += float(bias[n]);
            }
            const uint place =
                place_in_heads(row, n % PART, length, N_HEADS, HEAD_CHANNELS);
            device T* target = n < uint(PART) ? q : (n < 2 * uint(PART) ? k : v);
            target[place] = static_cast<T>(value);
        }
    }
