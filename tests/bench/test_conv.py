"""The convolutions' table."""

from __future__ import annotations

import pytest

from mlx_speech.bench.conv import (
    VITS_CASES,
    ConvCase,
    ConvTiming,
    as_table,
    measure,
)
from mlx_speech.nn.conv import ConvShape, choose, current_device

SMALL = (
    ConvCase("plain", 2, ConvShape("plain", 2 * 12, 4, 6, 3)),
    ConvCase("up", 2, ConvShape("transposed", 2 * 12, 4, 6, 4, 2)),
    ConvCase("period", 2, ConvShape("period", 2 * 12 * 3, 4, 6, 5, 3), 3),
    ConvCase("groups", 2, ConvShape("plain", 2 * 12, 4, 6, 3, 1, 1, 2)),
)


def test_every_kind_of_layer_is_timed_both_ways() -> None:
    rows = measure(SMALL, repeats=2)
    assert [row.case for row in rows] == list(SMALL)
    for row in rows:
        assert row.way == choose(row.case.shape, current_device(), "auto")
        assert min(row.native_forward_ms, row.chosen_forward_ms) > 0
        assert min(row.native_training_ms, row.chosen_training_ms) > 0


def test_gains_are_native_over_chosen() -> None:
    timing = ConvTiming(SMALL[0], "taps", 10.0, 30.0, 4.0, 5.0)
    assert timing.forward_gain == pytest.approx(2.5)
    assert timing.training_gain == pytest.approx(6.0)
    assert as_table([timing]).splitlines()[2] == (
        "| plain | taps | 10.0, 30.0 | 4.0, 5.0 | 2.5, 6.0 |"
    )


def test_names_are_unique() -> None:
    names = [case.name for case in VITS_CASES]
    assert len(set(names)) == len(names)
