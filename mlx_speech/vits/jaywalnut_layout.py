"""Checkpoints of the VITS release: ``G_*.pth`` and ``D_*.pth`` with a config.json.

The files come from ``torch.save`` and are read without torch. A config.json lies
beside them in a training folder, or is given.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np

from mlx_speech.audio import MelSpec
from mlx_speech.errors import SpeechError
from mlx_speech.hub.load import read_json
from mlx_speech.hub.torch_pickle import load_torch_checkpoint
from mlx_speech.text.characters import CharacterVocabulary, vits_vocabulary
from mlx_speech.vits.config import DiscriminatorConfig, VitsConfig
from mlx_speech.vits.discriminator import Discriminators
from mlx_speech.vits.torch_layout import load_from_torch
from mlx_speech.vits.voice import Voice, build_model, explaining_settings

GENERATOR_FILE = re.compile(r"G_(\d+)\.pth")
# Keys of the ``model`` section that fix a shape; the others switch training tricks.
MODEL_KEYS = (
    "inter_channels",
    "hidden_channels",
    "filter_channels",
    "n_heads",
    "n_layers",
    "kernel_size",
    "p_dropout",
    "resblock",
    "resblock_kernel_sizes",
    "resblock_dilation_sizes",
    "upsample_rates",
    "upsample_initial_channel",
    "upsample_kernel_sizes",
    "use_sdp",
)
DATA_KEYS = ("sampling_rate", "filter_length", "hop_length", "win_length")
MEL_BANDS = 80


def load_jaywalnut(
    path: Path, config_path: Path | None = None, with_discriminators: bool = True
) -> Voice:
    """Load a generator, and its discriminators if that step's ``D_*.pth`` is beside it.

    Args:
        path: a ``G_*.pth``, or a folder of which the newest one is taken.
        config_path: the config.json of the training; None looks beside the file.
        with_discriminators: False leaves the discriminators out.

    Raises:
        SpeechError: a file is missing or broken, or the weights do not fit the
            configuration.
    """
    if path.is_dir():
        path = newest_generator(path)
    config_path = config_path or path.with_name("config.json")
    if not config_path.is_file():
        raise SpeechError(
            f"no `{config_path.name}` beside `{path}`",
            "give the training's configuration with --config",
        )
    data, model_settings, symbols = _sections(config_path)
    with explaining_settings(config_path):
        vocabulary = _vocabulary(data, symbols)
        config = _config(data, model_settings, vocabulary.size)
        mel_spec = MelSpec(
            sample_rate=data["sampling_rate"],
            n_fft=data["filter_length"],
            hop_length=data["hop_length"],
            win_length=data["win_length"],
            n_mels=data.get("n_mel_channels", MEL_BANDS),
            fmin=data.get("mel_fmin") or 0.0,
            fmax=data.get("mel_fmax"),
        )
    model = build_model(config, config_path)
    load_from_torch(model, _weights(path), str(path))
    return Voice(
        model=model,
        mel_spec=mel_spec,
        vocabulary=vocabulary,
        discriminators=_discriminators(path) if with_discriminators else None,
        reads_ipa=symbols is None,
    )


def newest_generator(folder: Path) -> Path:
    """The ``G_*.pth`` of the most steps.

    Raises:
        SpeechError: there is none.
    """
    found = [
        (int(match[1]), path)
        for path in folder.iterdir()
        if (match := GENERATOR_FILE.fullmatch(path.name))
    ]
    if not found:
        raise SpeechError(f"no G_*.pth in `{folder}`", "give the file itself")
    return max(found)[1]


def _sections(
    path: Path,
) -> tuple[dict[str, Any], dict[str, Any], list[str] | None]:
    content = read_json(path)
    sections = content if isinstance(content, dict) else {}
    data, model = sections.get("data"), sections.get("model")
    if not isinstance(data, dict) or not isinstance(model, dict):
        raise SpeechError(
            f"`{path}` lacks the sections `data` and `model`",
            "give the config.json that the checkpoint was trained with",
        )
    missing = [key for key in DATA_KEYS if not isinstance(data.get(key), int)]
    if missing:
        raise SpeechError(f"the section `data` of `{path}` lacks {', '.join(missing)}")
    return data, model, sections.get("symbols")


def _config(
    data: Mapping[str, Any], settings: Mapping[str, Any], n_vocab: int
) -> VitsConfig:
    n_speakers = int(data.get("n_speakers", 0))
    gin_channels = int(settings.get("gin_channels", 0))
    # The release builds a speaker table only for more than one speaker.
    many = n_speakers > 1 and gin_channels > 0
    return VitsConfig.from_dict(
        {key: settings[key] for key in MODEL_KEYS if key in settings}
        | {
            "n_vocab": n_vocab,
            "spec_channels": data["filter_length"] // 2 + 1,
            "n_speakers": n_speakers * many,
            "gin_channels": gin_channels * many,
        }
    )


def _vocabulary(
    data: Mapping[str, Any], symbols: list[str] | None
) -> CharacterVocabulary:
    """The release's 178 symbols, or those that a fork wrote into its config.json."""
    add_blank = bool(data.get("add_blank", True))
    if symbols is None:
        table = vits_vocabulary().symbols
    else:
        table = {symbol: index for index, symbol in enumerate(symbols)}
    return CharacterVocabulary(table, add_blank=add_blank, lowercase=False)


def _discriminators(generator_path: Path) -> Discriminators | None:
    if not GENERATOR_FILE.fullmatch(generator_path.name):
        return None
    path = generator_path.with_name(f"D{generator_path.name[1:]}")
    if not path.is_file():
        return None
    discriminators = Discriminators(DiscriminatorConfig())
    load_from_torch(discriminators, _weights(path), str(path))
    return discriminators


def _weights(path: Path) -> dict[str, mx.array]:
    weights = load_torch_checkpoint(path, only=("model",)).get("model")
    if not isinstance(weights, dict) or not all(
        isinstance(array, np.ndarray) for array in weights.values()
    ):
        raise SpeechError(
            f"`{path}` has no weights under `model`",
            "give a G_*.pth that the VITS release's training wrote",
        )
    return {name: mx.array(array) for name, array in weights.items()}
