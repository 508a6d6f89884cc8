"""Settings beyond their limits are refused by name."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from mlx_speech.errors import SpeechError
from mlx_speech.training.limits import check_limits
from mlx_speech.training.settings import LoopSettings

NAN, INFINITE = float("nan"), float("inf")


@pytest.mark.parametrize(
    ("limit", "good", "bad"),
    [
        ("positive", (1, 1e-300, (3, 0.5)), (0, -1, NAN, INFINITE, (3, 0), ())),
        ("not_negative", (0, 2.5, (0, 1)), (-1e-9, NAN, INFINITE, (0, NAN))),
        ("shares", (0, 0.3, 1), (-0.1, 1.1, NAN, INFINITE)),
        ("below_one", (0, 0.999, (0.8, 0.99)), (-0.1, 1.0, NAN, (0.8, 1.0))),
    ],
)
def test_what_lies_beyond_a_limit_is_refused(
    limit: str, good: tuple, bad: tuple
) -> None:
    for value in good:
        check_limits(SimpleNamespace(this=value), **{limit: ["this"]})
    for value in bad:
        with pytest.raises(SpeechError, match="`this` must ") as caught:
            check_limits(SimpleNamespace(this=value), **{limit: ["this"]})
        assert str(value) in caught.value.message


def test_settings_without_a_limit_are_not_looked_at() -> None:
    check_limits(SimpleNamespace(this=-1, that=1), positive=["that"])


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("max_steps", 0),
        ("max_epochs", 0),
        ("log_every", 0),
        ("keep", 0),
        ("divergence_patience", 0),
        ("seed", -1),
        ("seed", 2**63),
        ("validate_every", -1),
        ("sample_every", -1),
        ("checkpoint_every", -1),
        ("checkpoint_minutes", NAN),
        ("divergence_factor", -1.0),
        ("export", "newest"),
    ],
)
def test_a_loop_that_cannot_be_is_refused(name: str, value: object) -> None:
    with pytest.raises(SpeechError, match=f"`{name}` must .*{value}"):
        LoopSettings(**{name: value})
