"""The guide's tables of predicted times are those of the cost model; files exist."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mlx_speech.audio.mel import MelSpec, mel_filterbank
from mlx_speech.audio.stft import hann_window
from mlx_speech.metal_kernels.butterfly_cost import (
    butterfly_backward_costs,
    butterfly_costs,
    log_mel_costs,
)
from mlx_speech.metal_kernels.butterfly_plan import ButterflyPlan
from mlx_speech.metal_kernels.cost import CHIPS, Cost, cost_table, predict
from mlx_speech.metal_kernels.fused_qkv_cost import fused_qkv_costs
from mlx_speech.metal_kernels.log_mel_plan import LogMelPlan, sparse_bands
from mlx_speech.metal_kernels.twiddles import digit_reversal
from mlx_speech.metal_kernels.verify import EMULATED, FAILED, NOTHING_RAN, VERIFIED

FOLDER = Path(__file__).resolve().parents[2] / "metal_kernels"


def butterfly_plan() -> ButterflyPlan:
    """1024 points in stages of radix 2, as they are learned."""
    radices = (2,) * 10
    return ButterflyPlan(radices, digit_reversal(radices))


def whisper_log_mel() -> list[Cost]:
    """30 seconds of Whisper's features."""
    spec = MelSpec.preset("whisper-80")
    filters = np.array(mel_filterbank(spec))
    plan = LogMelPlan(
        hann_window(spec.n_fft, spec.win_length),
        filters,
        spec.hop_length,
        power=spec.power,
        eps=spec.eps,
        floor=spec.floor,
        log=spec.log,
    )
    return log_mel_costs(plan, 3000, len(sparse_bands(filters)[2]))


TABLES = {
    "decode 384": lambda: fused_qkv_costs(1, 384, 3 * 384),
    "decode 1280": lambda: fused_qkv_costs(1, 1280, 3 * 1280),
    "decode 1280 in 4 bits": lambda: fused_qkv_costs(1, 1280, 3 * 1280, 64),
    "prefill 384": lambda: fused_qkv_costs(1500, 384, 3 * 384),
    "prefill 1280": lambda: fused_qkv_costs(1500, 1280, 3 * 1280),
    "butterfly": lambda: butterfly_costs(butterfly_plan(), 3000, tied=False),
    "gradients": lambda: butterfly_backward_costs(butterfly_plan(), 3000, tied=False),
    "log-mel": whisper_log_mel,
}


@pytest.mark.parametrize("name", TABLES)
def test_the_guide_shows_what_the_model_predicts(name: str) -> None:
    table = "\n".join(cost_table(TABLES[name]()))
    assert table in (FOLDER / "README.md").read_text(encoding="utf-8"), table


def test_weights_are_most_of_what_decoding_moves() -> None:
    fused, operations, apart = fused_qkv_costs(1, 1280, 3840)
    weights = 1280 * 3840 * 2
    assert weights < fused.memory_bytes < 1.01 * weights
    assert (fused.launches, operations.launches, apart.launches) == (1, 2, 4)
    packed, product, _ = fused_qkv_costs(1, 1280, 3840, 64)
    # Half a byte, and two half-precision numbers for each 64 weights.
    assert packed.memory_bytes - fused.memory_bytes == weights * (0.28125 - 1)
    assert product.launches == 3


def test_many_rows_are_a_matter_of_arithmetic_and_mlx_is_ahead() -> None:
    fused, operations, _ = fused_qkv_costs(1500, 1280, 3840)
    assert fused.flops == 2 * 1500 * 1280 * 3840
    for chip in CHIPS:
        ahead, behind = predict(operations, chip), predict(fused, chip)
        assert ahead.microseconds < behind.microseconds
        assert behind.limit == "arithmetic"


def test_every_kernel_and_exit_code_stands_in_the_guide() -> None:
    guide = (FOLDER / "README.md").read_text(encoding="utf-8")
    for path in FOLDER.glob("*.metal"):
        assert f"`{path.name}`" in guide
    for code in (VERIFIED, FAILED, EMULATED, NOTHING_RAN):
        assert f"\n| {code} | " in guide
