"""Three forms of Voxtral's configuration, and settings that cannot be used."""

from __future__ import annotations

import copy
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest

from mlx_speech.errors import SpeechError
from mlx_speech.voxtral.config import VoxtralConfig

# The published sizes: transformers 4.54's config.json of Voxtral-Mini-3B-2507.
MINI: dict[str, Any] = {
    "model_type": "voxtral",
    "audio_token_id": 24,
    "projector_hidden_act": "gelu",
    "audio_config": {
        "model_type": "voxtral_encoder",
        "hidden_size": 1280,
        "intermediate_size": 5120,
        "num_hidden_layers": 32,
        "num_attention_heads": 20,
        "head_dim": 64,
        "num_mel_bins": 128,
        "max_source_positions": 1500,
        "activation_function": "gelu",
        "vocab_size": 51866,
    },
    "text_config": {
        "model_type": "llama",
        "hidden_size": 3072,
        "intermediate_size": 8192,
        "num_hidden_layers": 30,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "head_dim": 128,
        "vocab_size": 131072,
        "rms_norm_eps": 1e-5,
        "rope_theta": 1e8,
        "rope_scaling": None,
        "max_position_embeddings": 131072,
        "sliding_window": None,
    },
}


def test_both_spellings_of_rope_theta_are_read() -> None:
    nested = copy.deepcopy(MINI)
    theta = nested["text_config"].pop("rope_theta")
    nested["text_config"]["rope_parameters"] = {
        "rope_theta": theta,
        "rope_type": "default",
    }
    config = VoxtralConfig.from_dict(MINI)
    assert VoxtralConfig.from_dict(nested) == config
    assert config.text.rope_theta == 1e8


def test_whispers_names_are_read_in_the_audio_tower() -> None:
    older = copy.deepcopy(MINI)
    audio = older["audio_config"]
    for theirs, ours in (
        ("d_model", "hidden_size"),
        ("encoder_layers", "num_hidden_layers"),
        ("encoder_attention_heads", "num_attention_heads"),
        ("encoder_ffn_dim", "intermediate_size"),
    ):
        audio[theirs] = audio.pop(ours)
    assert VoxtralConfig.from_dict(older) == VoxtralConfig.from_dict(MINI)


def test_mistrals_form_means_the_same_model(recipe: ModuleType) -> None:
    config = VoxtralConfig.from_dict(recipe.hf_config())
    assert VoxtralConfig.from_dict(recipe.mistral_params()) == config


def test_what_is_written_is_read(recipe: ModuleType) -> None:
    config = VoxtralConfig.from_dict(recipe.hf_config())
    assert VoxtralConfig.from_dict(config.to_hf()) == config


def test_released_sizes_make_375_tokens_of_30_seconds() -> None:
    audio = VoxtralConfig.from_dict(MINI).audio
    assert (audio.group, audio.tokens_per_chunk) == (4, 375)


@pytest.mark.parametrize(
    ("part", "change", "message"),
    [
        ("text_config", {"rope_theta": None}, "rope_theta"),
        (
            "text_config",
            {"rope_parameters": {"rope_theta": 1.0}},
            "rope_theta is .+ and",
        ),
        ("text_config", {"rope_scaling": {"type": "yarn"}}, "positions are scaled"),
        (
            "text_config",
            {"hidden_act": "gelu"},
            "hidden_act is 'gelu' instead",
        ),
        ("text_config", {"tie_word_embeddings": True}, "tie_word_embeddings is True"),
        ("text_config", {"num_key_value_heads": 5}, "32 heads cannot share 5 heads"),
        ("text_config", {"vocab_size": -1}, "vocab_size is -1"),
        ("text_config", {"vocab_size": "many"}, "vocab_size is 'many'"),
        ("text_config", {"rms_norm_eps": float("nan")}, "rms_norm_eps is nan"),
        ("text_config", {"num_key_value_heads": None}, "num_key_value_heads is None"),
        ("text_config", {"rope_theta": [1e8]}, "rope_theta is \\[100000000.0\\]"),
        ("text_config", {"rope_parameters": "long"}, "rope_parameters is 'long'"),
        ("text_config", {"rope_scaling": {"type": []}}, "positions are scaled"),
        ("audio_config", {"hidden_size": None}, "hidden_size is None"),
        ("audio_config", {"intermediate_size": 5000}, "cannot join frames"),
        ("audio_config", {"max_source_positions": 1501}, "are no multiple of the 4"),
        ("audio_config", {"activation_function": "relu"}, "activation_function"),
    ],
)
def test_settings_without_sense_are_refused(
    part: str, change: dict[str, Any], message: str
) -> None:
    values = copy.deepcopy(MINI)
    values[part].update(change)
    with pytest.raises(SpeechError, match=message):
        VoxtralConfig.from_dict(values)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda c: c.clear(), "neither text_config nor multimodal"),
        (lambda c: c.pop("audio_config"), "audio_config is missing"),
        (lambda c: c["text_config"].pop("rope_theta"), "rope_theta is missing"),
        (
            lambda c: c["text_config"].pop("num_hidden_layers"),
            "the decoder has no num_hidden_layers",
        ),
        (
            lambda c: c["audio_config"].pop("hidden_size"),
            "the audio tower has no hidden_size",
        ),
        (lambda c: c.update(projector_hidden_act="relu"), "projector_hidden_act"),
    ],
)
def test_what_is_missing_is_named(damage: Callable[[Any], Any], message: str) -> None:
    values = copy.deepcopy(MINI)
    damage(values)
    with pytest.raises(SpeechError, match=message):
        VoxtralConfig.from_dict(values)


def test_parts_of_mistrals_form_that_are_no_objects_are_named(
    recipe: ModuleType,
) -> None:
    values = copy.deepcopy(recipe.mistral_params())
    whisper = values["multimodal"]["whisper_model_args"]
    whisper["downsample_args"] = None  # as if absent: the sizes below say it too
    VoxtralConfig.from_dict(values)
    whisper["encoder_args"]["audio_encoding_args"] = "mel"
    with pytest.raises(SpeechError, match="audio_encoding_args is 'mel', not an obj"):
        VoxtralConfig.from_dict(values)
