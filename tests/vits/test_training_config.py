"""A VITS training that cannot be is refused before it begins, by setting."""

from __future__ import annotations

from typing import Any

import pytest

from mlx_speech.audio import MelSpec
from mlx_speech.errors import SpeechError
from mlx_speech.vits.model import SynthesizerTrn
from mlx_speech.vits.setup import model_config
from mlx_speech.vits.training_config import NOT_NEGATIVE, POSITIVE, VitsTrainConfig

NAN, INFINITE = float("nan"), float("inf")
LISTS = ("resblock_kernel_sizes", "upsample_rates", "upsample_kernel_sizes")
SMALL = {"hidden_channels": 16, "inter_channels": 16, "filter_channels": 16}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        *(
            ({name: 0}, f"`{name}` must be positive, not 0")
            for name in POSITIVE
            if name not in LISTS
        ),
        *(({name: (4, 0)}, f"`{name}` must be positive, not (4, 0)") for name in LISTS),
        *(({name: ()}, f"`{name}` must be positive, not ()") for name in LISTS),
        *(
            ({name: -1}, f"`{name}` must not be negative, not -1")
            for name in NOT_NEGATIVE
        ),
        ({"learning_rate": NAN}, "`learning_rate` must be positive, not nan"),
        ({"learning_rate": INFINITE}, "`learning_rate` must be finite, not inf"),
        ({"weight_mel": INFINITE}, "`weight_mel` must be finite, not inf"),
        ({"p_dropout": 1.0}, "`p_dropout` must lie in [0, 1), not 1.0"),
        ({"ema_decay": 1.0}, "`ema_decay` must lie in [0, 1), not 1.0"),
        ({"adam_betas": (0.9,)}, "`adam_betas` takes two numbers, not (0.9,)"),
        ({"adam_betas": (0.9, NAN)}, "`adam_betas` must lie in [0, 1), not (0.9, nan)"),
        ({"validation_share": 0.0}, "`validation_share` must be above 0"),
        ({"seed": 2**63}, "`seed` must be below 2^63"),
        ({"keep": 0}, "`keep` must be at least 1, not 0"),
    ],
)
def test_settings_that_cannot_be_are_refused(
    changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(SpeechError) as caught:
        VitsTrainConfig(**changes)
    assert message in caught.value.message


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"hidden_channels": 7}, "hidden_channels 7 must be a multiple of n_heads 2"),
        ({"inter_channels": 7}, "inter_channels must be even, not 7"),
        ({"upsample_rates": (8, 8, 4)}, "3 upsample_rates and 4"),
        ({"upsample_rates": (8, 8, 2, 1)}, "makes 128 samples from a frame"),
        (
            {"resblock_dilation_sizes": ((1, 0),) * 3},
            "resblock_dilation_sizes must be positive, not ((1, 0), (1, 0), (1, 0))",
        ),
        ({"resblock_dilation_sizes": ((),) * 3}, "must be positive, not ((), (), ())"),
    ],
)
def test_shapes_that_cannot_be_are_refused(
    changes: dict[str, Any], message: str
) -> None:
    """Where they are needed: a base voice brings its own."""
    config = VitsTrainConfig(**{**SMALL, **changes})
    with pytest.raises(SpeechError) as caught:
        SynthesizerTrn(model_config(config, MelSpec.preset(config.mel), n_vocab=10))
    assert message in caught.value.message
