"""Voice folders: our own layout, and the door to the others.

Ours is config.json, model.safetensors and, when training is to go on from it,
discriminator.safetensors: MLX's layout, the reference implementation's names, half
precision if wanted.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import mlx.core as mx

from mlx_speech.audio import MelSpec
from mlx_speech.errors import SpeechError
from mlx_speech.files import replacing_folder
from mlx_speech.hub.load import SINGLE_NAME, load_safetensors, load_strict, read_object
from mlx_speech.hub.save import flatten_parameters, save_safetensors, write_json
from mlx_speech.text.vocabulary import vocabulary_from_dict
from mlx_speech.vits import hf_layout
from mlx_speech.vits.config import DiscriminatorConfig, VitsConfig
from mlx_speech.vits.discriminator import Discriminators
from mlx_speech.vits.jaywalnut_layout import load_jaywalnut
from mlx_speech.vits.voice import Voice, build_model, explaining_settings

__all__ = ["MODEL_TYPE", "Voice", "load_voice", "save_voice"]

MODEL_TYPE = "mlx-speech-vits"
DISCRIMINATOR_NAME = "discriminator.safetensors"
NEEDED = ("model", "mel", "vocabulary")
OPTIONAL = ("model_type", "speakers", "inference", "reads_ipa", "discriminator")


def save_voice(
    folder: str | Path,
    voice: Voice,
    discriminators: Discriminators | None = None,
    dtype: mx.Dtype | None = None,
) -> None:
    """Write a voice in our layout, atomically.

    Args:
        folder: replaced as a whole.
        voice: what to write.
        discriminators: written beside it; None takes those of the voice, if any.
        dtype: of the weights; None keeps the model's.

    Raises:
        SpeechError: the folder cannot be written, or the disk is full.
    """
    if discriminators is None:
        discriminators = voice.discriminators
    content: dict[str, Any] = {
        "model_type": MODEL_TYPE,
        "model": voice.config.to_dict(),
        "mel": voice.mel_spec.to_dict(),
        "vocabulary": voice.vocabulary.to_dict(),
        "speakers": list(voice.speakers),
        "inference": dict(voice.inference),
        "reads_ipa": voice.reads_ipa,
    }
    if discriminators is not None:
        content["discriminator"] = discriminators.config.to_dict()
    with replacing_folder(folder) as temporary:
        write_json(temporary / "config.json", content)
        save_safetensors(
            temporary / SINGLE_NAME, flatten_parameters(voice.model, dtype)
        )
        if discriminators is not None:
            save_safetensors(
                temporary / DISCRIMINATOR_NAME,
                flatten_parameters(discriminators, dtype),
            )


def load_voice(
    path: str | Path,
    config_path: str | Path | None = None,
    with_discriminators: bool = True,
) -> Voice:
    """Load a voice of any known layout; weights become float32.

    Args:
        path: our folder, a Hugging Face ``VitsModel`` folder, or a ``G_*.pth`` of the
            VITS release (or a training folder with several).
        config_path: the config.json of a ``G_*.pth`` that lies elsewhere.
        with_discriminators: False leaves the discriminators out; to speak needs none.

    Raises:
        SpeechError: no such path, an unknown layout, a broken file, or weights of
            another architecture.
    """
    path = Path(path)
    if not path.exists():
        raise SpeechError(f"no file or folder `{path}`", "check the path of the voice")
    if path.is_file():
        if path.suffix != ".pth":
            raise SpeechError(
                f"`{path}` is no voice that can be loaded",
                "give a folder with a config.json, or a G_*.pth of the VITS release",
            )
        given = None if config_path is None else Path(config_path)
        return load_jaywalnut(path, given, with_discriminators)
    if not (path / "config.json").is_file():
        raise SpeechError(
            f"`{path}` holds no config.json, so it is no voice",
            "give the folder of a voice, or the model/ folder of a training run",
        )
    content = read_object(path / "config.json")
    kind = content.get("model_type")
    if kind == MODEL_TYPE:
        return _load_own(path, content, with_discriminators)
    if kind == hf_layout.MODEL_TYPE:
        return hf_layout.load_hf(path)
    if kind is None and {"data", "model"} <= set(content):
        return load_jaywalnut(path, None, with_discriminators)
    raise SpeechError(
        f"`{path}` has an unknown layout: model_type is {kind!r}",
        f"known are {MODEL_TYPE}, Hugging Face's vits, and the VITS release's training "
        "folders",
    )


def _load_own(
    folder: Path, content: Mapping[str, Any], with_discriminators: bool
) -> Voice:
    source = folder / "config.json"
    missing = [key for key in NEEDED if not isinstance(content.get(key), dict)]
    unknown = sorted(set(content) - set(NEEDED) - set(OPTIONAL))
    if missing or unknown:
        raise SpeechError(
            f"`{source}` lacks {missing} and has the unknown keys {unknown}",
            "write voices with `mlx-speech convert` or train-vits",
        )
    with explaining_settings(source):
        config = VitsConfig.from_dict(content["model"])
        mel_spec = MelSpec.from_dict(content["mel"])
        vocabulary = vocabulary_from_dict(content["vocabulary"])
    model = build_model(config, source)
    load_strict(model, load_safetensors(folder / SINGLE_NAME), folder)
    shapes = content.get("discriminator") if with_discriminators else None
    with explaining_settings(source):
        return Voice(
            model=model,
            mel_spec=mel_spec,
            vocabulary=vocabulary,
            speakers=content.get("speakers", ()),
            inference=content.get("inference", {}),
            discriminators=_load_discriminators(folder, shapes),
            reads_ipa=content.get("reads_ipa", False),
        )


def _load_discriminators(
    folder: Path, settings: Mapping[str, Any] | None
) -> Discriminators | None:
    if settings is None:
        return None
    discriminators = Discriminators(DiscriminatorConfig.from_dict(settings))
    path = folder / DISCRIMINATOR_NAME
    load_strict(discriminators, load_safetensors(path), path)
    return discriminators
