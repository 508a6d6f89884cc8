"""Voxtral's two releases behind the functions that know every family."""

from __future__ import annotations

import json
from pathlib import Path
from types import ModuleType
from typing import Any

import mlx.core as mx
import numpy as np
import pytest

from mlx_speech.errors import SpeechError
from mlx_speech.hub.save import save_safetensors
from mlx_speech.models import (
    load_listener,
    load_model,
    load_voice,
    model_family,
    transcribe,
)
from mlx_speech.voxtral import transcribe as pieces
from mlx_speech.voxtral.listening import load, save
from mlx_speech.voxtral.model import Voxtral
from mlx_speech.voxtral.realtime_model import VoxtralRealtime


def write(
    folder: Path,
    names: tuple[str, str],
    config: dict[str, Any],
    arrays: dict[str, np.ndarray],
    tekken: dict[str, Any],
) -> Path:
    folder.mkdir()
    (folder / names[0]).write_text(json.dumps(config))
    (folder / "tekken.json").write_text(json.dumps(tekken))
    named = {name: mx.array(value) for name, value in arrays.items()}
    save_safetensors(folder / names[1], named)
    return folder


@pytest.fixture
def folders(
    tmp_path: Path, recipe: ModuleType, realtime: ModuleType
) -> dict[str, Path]:
    hf, mistral = (
        ("config.json", "model.safetensors"),
        ("params.json", "consolidated.safetensors"),
    )
    return {
        "hf": write(
            tmp_path / "hf", hf, recipe.hf_config(), recipe.state(), recipe.tekken()
        ),
        "mistral": write(
            tmp_path / "mistral",
            mistral,
            recipe.mistral_params(),
            recipe.mistral_state(),
            recipe.tekken(),
        ),
        "realtime": write(
            tmp_path / "realtime",
            hf,
            realtime.hf_config(),
            realtime.state(),
            realtime.tekken(),
        ),
        "realtime mistral": write(
            tmp_path / "realtime-mistral",
            mistral,
            realtime.mistral_params(),
            realtime.mistral_state(),
            realtime.tekken(),
        ),
    }


def test_folders_of_both_releases_are_told_apart(folders: dict[str, Path]) -> None:
    kinds = {name: type(load_model(folder)) for name, folder in folders.items()}
    assert kinds == {
        "hf": Voxtral,
        "mistral": Voxtral,
        "realtime": VoxtralRealtime,
        "realtime mistral": VoxtralRealtime,
    }
    assert model_family(folders["mistral"]) == "voxtral"
    with pytest.raises(SpeechError, match="family `voxtral`, which does not speak"):
        load_voice(folders["hf"])


def test_a_model_type_of_another_kind_is_unknown(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": ["voxtral"]}')
    with pytest.raises(SpeechError, match="unknown layout: model_type is"):
        model_family(tmp_path)


def test_both_releases_transcribe_by_their_own_options(
    folders: dict[str, Path], recipe: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pieces, "token_limit", lambda seconds: 5)
    samples = recipe.clip("other").astype(np.float32) / 32768
    model = load_listener(folders["hf"])
    told: list[float] = []
    result = transcribe(
        samples,
        model,
        language="hindi",
        listener=lambda segments, seconds: told.append(seconds),
    )
    assert result.language == "hi" and len(result.segments[0].tokens) == 5
    assert told[-1] == result.duration == 2.5
    with pytest.raises(SpeechError, match="tells no times of words"):
        transcribe(samples, model, word_timestamps=True)
    with pytest.raises(SpeechError, match="without a delay"):
        transcribe(samples, model, delay_tokens=3)
    stream = load_listener(folders["realtime"])
    assert transcribe(samples, stream, word_timestamps=True).has_words
    with pytest.raises(SpeechError, match="cannot be told the language"):
        transcribe(samples, stream, language="en")
    with pytest.raises(SpeechError, match="the likeliest tokens only"):
        transcribe(samples, stream, temperature=0.5)


def test_both_releases_are_written_in_one_way(
    folders: dict[str, Path], tmp_path: Path
) -> None:
    for name in ("mistral", "realtime mistral"):
        model = load(folders[name])
        save(tmp_path / "out", model)
        assert type(load(tmp_path / "out")) is type(model)
        assert (tmp_path / "out" / "tekken.json").is_file()
