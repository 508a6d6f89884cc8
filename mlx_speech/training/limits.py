"""Limits of settings: what cannot be is refused before hours of work, by its name."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from mlx_speech.errors import SpeechError


def check_limits(
    settings: Any,
    *,
    positive: Sequence[str] = (),
    not_negative: Sequence[str] = (),
    shares: Sequence[str] = (),
    below_one: Sequence[str] = (),
) -> None:
    """Refuse settings beyond their limits, infinite ones and NaN.

    Args:
        settings: any object whose attributes are numbers or tuples of numbers.
        positive: names of settings above 0.
        not_negative: from 0 on.
        shares: from 0 to 1.
        below_one: from 0 on and below 1.

    Raises:
        SpeechError: the first setting that is not within its limits, or an empty tuple.
    """
    for names, rule, low, high in (
        (positive, "be positive", math.nextafter(0, 1), math.inf),
        (not_negative, "not be negative", 0, math.inf),
        (shares, "lie from 0 to 1", 0, 1),
        (below_one, "lie in [0, 1)", 0, math.nextafter(1, 0)),
    ):
        for name in names:
            value = getattr(settings, name)
            numbers = value if isinstance(value, tuple) else (value,)
            # Written so that NaN is refused too.
            if not numbers or not all(low <= number <= high for number in numbers):
                raise SpeechError(f"`{name}` must {rule}, not {value}")
            if math.inf in numbers:
                raise SpeechError(f"`{name}` must be finite, not {value}")
