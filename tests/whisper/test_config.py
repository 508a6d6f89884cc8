"""Sizes of Whisper from both families of configurations, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from mlx_speech.errors import SpeechError
from mlx_speech.whisper.alignment_heads import published_heads
from mlx_speech.whisper.config import WhisperConfig

GOLDENS = Path(__file__).resolve().parents[1] / "goldens"
TINY = {
    "n_mels": 80,
    "n_audio_ctx": 1500,
    "n_audio_state": 384,
    "n_audio_head": 6,
    "n_audio_layer": 4,
    "n_vocab": 51865,
    "n_text_ctx": 448,
    "n_text_state": 384,
    "n_text_head": 6,
    "n_text_layer": 4,
}
LARGE_V3 = TINY | {
    "n_mels": 128,
    "n_audio_state": 1280,
    "n_text_state": 1280,
    "n_audio_head": 20,
    "n_text_head": 20,
    "n_audio_layer": 32,
    "n_text_layer": 32,
    "n_vocab": 51866,
}


def test_openai_sizes_fill_in_the_rest() -> None:
    config = WhisperConfig.from_dict(TINY)
    assert (config.n_audio_mlp, config.n_text_mlp) == (1536, 1536)
    assert config.n_frames == 3000
    upper = tuple((layer, head) for layer in (2, 3) for head in range(6))
    assert config.alignment_heads == upper
    assert WhisperConfig.from_dict(config.to_dict()) == config


@pytest.mark.parametrize("name", ["multilingual", "english", "v3", "distilled"])
def test_both_spellings_give_one_configuration(name: str, recipe: ModuleType) -> None:
    config = WhisperConfig.from_dict(recipe.hf_config(name))
    audio_mlp, text_mlp = recipe.mlp_sizes(name)
    widths = {"n_audio_mlp": audio_mlp, "n_text_mlp": text_mlp}
    assert WhisperConfig.from_dict(recipe.openai_dims(name) | widths) == config
    assert config.to_hf().items() <= recipe.hf_config(name).items()


@pytest.mark.parametrize(
    ("vocabulary", "multilingual"), [(51864, False), (51865, True), (51866, True)]
)
def test_vocabularies_of_openai(vocabulary: int, multilingual: bool) -> None:
    config = WhisperConfig.from_dict(TINY | {"n_vocab": vocabulary})
    assert config.has_openai_vocabulary
    assert config.is_multilingual is multilingual
    own = WhisperConfig.from_dict(TINY | {"n_vocab": vocabulary + 8})
    assert not own.has_openai_vocabulary


def test_published_heads_are_openais() -> None:
    golden = json.loads((GOLDENS / "whisper_heads.json").read_text())
    assert len(golden) == 14
    for name, heads in golden.items():
        assert [list(pair) for pair in published_heads(name)] == heads, name


def test_published_heads_fit_their_models() -> None:
    assert published_heads("tiny") == ((2, 2), (3, 0), (3, 2), (3, 3), (3, 4), (3, 5))
    assert published_heads("large") == published_heads("large-v3")
    turbo = ((2, 4), (2, 11), (3, 3), (3, 6), (3, 11), (3, 14))
    assert published_heads("turbo") == published_heads("large-v3-turbo") == turbo
    assert published_heads("my-model") == ()
    counts = {"small.en": 19, "medium.en": 18, "large-v1": 9, "large-v2": 23}
    assert {name: len(published_heads(name)) for name in counts} == counts
    large = WhisperConfig.from_dict(LARGE_V3)
    heads = published_heads("large-v3")
    assert large.with_alignment_heads(heads).alignment_heads == heads


def test_heads_that_do_not_exist_give_the_default() -> None:
    config = WhisperConfig.from_dict(TINY)
    other = config.with_alignment_heads(published_heads("large-v3"))
    assert other == config
    with pytest.raises(SpeechError, match="not all within 4 layers of 6 heads"):
        WhisperConfig(**TINY, alignment_heads=((4, 0),))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"n_mels": 0}, "n_mels is 0, not a positive whole number"),
        ({"n_audio_ctx": -1}, "n_audio_ctx is -1"),
        ({"n_vocab": "many"}, "n_vocab is 'many'"),
        ({"n_text_layer": True}, "n_text_layer is True"),
        ({"n_text_ctx": 44.5}, "n_text_ctx is 44.5"),
        ({"n_text_state": 512}, "encoder has 384 channels and the decoder 512"),
        ({"n_audio_head": 5}, "384 channels cannot be split into n_audio_head = 5"),
        ({"n_text_head": 7}, "384 channels cannot be split into n_text_head = 7"),
        ({"alignment_heads": [1, 2]}, r"\[1, 2\] are not pairs of layer and head"),
    ],
)
def test_sizes_without_sense_are_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(SpeechError, match=message):
        WhisperConfig.from_dict(TINY | change)


def test_missing_sizes_are_named() -> None:
    with pytest.raises(SpeechError, match="n_mels is missing; n_audio_ctx is missing"):
        WhisperConfig.from_dict({})
    with pytest.raises(SpeechError, match="vocab_size is missing"):
        WhisperConfig.from_dict({"d_model": 8})


def test_one_missing_size_is_named_alone(recipe: ModuleType) -> None:
    values = recipe.hf_config("english")
    del values["d_model"]
    with pytest.raises(SpeechError, match=r"used: d_model is missing \("):
        WhisperConfig.from_dict(values)


@pytest.mark.parametrize(
    ("setting", "value"),
    [("activation_function", "relu"), ("tie_word_embeddings", False)],
)
def test_networks_that_we_lack_are_refused(
    setting: str, value: Any, recipe: ModuleType
) -> None:
    values = recipe.hf_config("english") | {setting: value}
    with pytest.raises(SpeechError, match=f"{setting} is {value!r} instead of"):
        WhisperConfig.from_dict(values)
