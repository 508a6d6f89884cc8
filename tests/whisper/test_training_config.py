"""A Whisper training that cannot be is refused before it begins, by setting."""

from __future__ import annotations

from typing import Any

import pytest

from mlx_speech.errors import SpeechError
from mlx_speech.whisper.training_config import (
    NOT_NEGATIVE,
    POSITIVE,
    SHARES,
    WhisperTrainConfig,
)

NAN, INFINITE = float("nan"), float("inf")
REFUSED: list[tuple[dict[str, Any], str]] = [
    *(({name: 0}, f"`{name}` must be positive, not 0") for name in POSITIVE),
    *(({name: -1}, f"`{name}` must be positive, not -1") for name in POSITIVE),
    *(({name: -1}, f"`{name}` must not be negative, not -1") for name in NOT_NEGATIVE),
    *(({name: -0.1}, f"`{name}` must lie from 0 to 1, not -0.1") for name in SHARES),
    *(({name: 1.1}, f"`{name}` must lie from 0 to 1, not 1.1") for name in SHARES),
    ({"learning_rate": NAN}, "`learning_rate` must be positive, not nan"),
    ({"learning_rate": INFINITE}, "`learning_rate` must be finite, not inf"),
    ({"longest_pause": INFINITE}, "`longest_pause` must be finite, not inf"),
    ({"prompt_share": NAN}, "`prompt_share` must lie from 0 to 1, not nan"),
    ({"channels": 7, "heads": 2}, "`channels` must be even and at least 4, not 7"),
    ({"channels": 2, "heads": 1}, "`channels` must be even and at least 4, not 2"),
    ({"channels": 10, "heads": 4}, "multiple of `heads`, not 10 of 4"),
    ({"heads": 5}, "multiple of `heads`, not 384 of 5"),
    ({"n_mels": 202}, "`n_mels` must be at most 201, not 202"),
    ({"vocabulary_size": 255}, "`vocabulary_size` must be at least 256, not 255"),
    ({"text_positions": 31}, "`text_positions` must be at least 32, not 31"),
    ({"window_seconds": 0.01}, "`window_seconds` must be 0 or at least 0.02, not 0.01"),
    ({"noise_snr": (9.0, 3.0)}, "`noise_snr` takes two ascending numbers, not (9.0,"),
    ({"noise_snr": (3.0,)}, "`noise_snr` takes two ascending numbers, not (3.0,)"),
    ({"noise_snr": (NAN, 3.0)}, "`noise_snr` takes two ascending numbers, not (nan"),
    ({"noise_snr": (3.0, INFINITE)}, "`noise_snr` takes two ascending numbers"),
    ({"adam_betas": (0.9,)}, "`adam_betas` takes two numbers, not (0.9,)"),
    ({"adam_betas": (0.9, 1.0)}, "`adam_betas` must lie in [0, 1), not (0.9, 1.0)"),
    ({"ema_decay": 1.0}, "`ema_decay` must lie in [0, 1), not 1.0"),
    ({"validation_share": 0.0}, "`validation_share` must be above 0"),
    ({"validation_share": 0.6}, "`validation_share` must be above 0 and at most 0.5"),
    ({"seed": 2**63}, "`seed` must be below 2^63"),
    ({"max_epochs": 0}, "`max_epochs` must be at least 1, not 0"),
    ({"validate_every": 0}, "`export: best` needs a validation"),
    ({"task": "sing"}, "`task` is `sing`"),
    ({"precision": "float16"}, "`precision` is `float16`"),
    ({"ctc_labels": "words"}, "`ctc_labels` is `words`"),
    ({"base": "none", "lora_rank": 2}, "random weights cannot stay as they are"),
]


@pytest.mark.parametrize(("changes", "message"), REFUSED)
def test_settings_that_cannot_be_are_refused(
    changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(SpeechError) as caught:
        WhisperTrainConfig(**changes)
    assert message in caught.value.message
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        *({name: 0} for name in NOT_NEGATIVE),
        *({name: share} for name in SHARES for share in (0, 1)),
        {"channels": 4, "heads": 2, "encoder_layers": 1, "decoder_layers": 1},
        {"channels": 14, "heads": 7},
        {"n_mels": 201, "vocabulary_size": 256, "text_positions": 32},
        {"window_seconds": 0.02},
        {"noise_snr": (3.0, 3.0)},
        {"max_steps": 1, "batch_size": 1, "warmup_steps": 0},
        {"adam_betas": (0.0, 0.0), "validation_share": 0.5},
    ],
)
def test_settings_at_their_limits_are_taken(changes: dict[str, Any]) -> None:
    config = WhisperTrainConfig(**changes)
    assert {name: getattr(config, name) for name in changes} == changes
