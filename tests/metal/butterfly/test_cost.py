"""The cost model counts what the kernel does."""

from __future__ import annotations

import numpy as np

from mlx_speech.metal_kernels.butterfly_cost import butterfly_costs
from mlx_speech.metal_kernels.butterfly_plan import ButterflyPlan


def test_a_butterfly_moves_its_rows_once_and_counts_every_product() -> None:
    plan = ButterflyPlan((2, 3), np.arange(6))
    fused, operations, blocks, fft = butterfly_costs(plan, batch=10, tied=False)
    # Rows in and out, 8 bytes a number; 6 * (2 + 3) numbers of blocks.
    assert fused.memory_bytes == 2 * 8 * 60 + 8 * 30
    # Two products and a sum (14) and three products and two sums (22) for each point.
    assert fused.flops == 36 * 60
    assert fused.launches == fft.launches == 1
    assert operations.memory_bytes > 4 * fused.memory_bytes
    assert blocks.flops == fused.flops  # the two stages are these blocks
