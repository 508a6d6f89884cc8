"""Hugging Face ``VitsModel`` folders: loaded to a voice, and written from one.

config.json, model.safetensors (or shards, or pytorch_model.bin), vocab.json and
tokenizer_config.json. What transformers has no place for (the spectrogram, speaker
names, our own vocabularies) is written to ``mlx_speech.json`` beside them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import mlx.core as mx

from mlx_speech.audio import MelSpec
from mlx_speech.errors import SpeechError
from mlx_speech.files import replacing_folder
from mlx_speech.hub.load import INDEX_NAME, SINGLE_NAME, load_safetensors, read_object
from mlx_speech.hub.save import (
    cast_floats,
    flatten_parameters,
    save_safetensors,
    write_json,
)
from mlx_speech.hub.torch_pickle import load_torch_checkpoint
from mlx_speech.text.characters import CharacterVocabulary
from mlx_speech.text.symbols import ARPABET_SYMBOLS
from mlx_speech.text.vocabulary import Vocabulary, vocabulary_from_dict
from mlx_speech.vits.config import VitsConfig
from mlx_speech.vits.duration import DETERMINISTIC_CHANNELS
from mlx_speech.vits.hf_names import from_hf, to_hf
from mlx_speech.vits.torch_layout import load_from_torch
from mlx_speech.vits.voice import Voice, build_model, explaining_settings

MODEL_TYPE = "vits"
EXTRAS_NAME = "mlx_speech.json"
TORCH_NAME = "pytorch_model.bin"
# Theirs -> ours and the value that transformers assumes when the key is absent.
SETTINGS: dict[str, tuple[str, Any]] = {
    "vocab_size": ("n_vocab", 38),
    "spectrogram_bins": ("spec_channels", 513),
    "flow_size": ("inter_channels", 192),
    "hidden_size": ("hidden_channels", 192),
    "ffn_dim": ("filter_channels", 768),
    "num_attention_heads": ("n_heads", 2),
    "num_hidden_layers": ("n_layers", 6),
    "ffn_kernel_size": ("kernel_size", 3),
    "hidden_dropout": ("p_dropout", 0.1),
    "window_size": ("window_size", 4),
    "posterior_encoder_num_wavenet_layers": ("posterior_layers", 16),
    "prior_encoder_num_wavenet_layers": ("flow_layers", 4),
    "prior_encoder_num_flows": ("n_flows", 4),
    "use_stochastic_duration_prediction": ("use_sdp", True),
    "resblock_kernel_sizes": ("resblock_kernel_sizes", (3, 7, 11)),
    "resblock_dilation_sizes": ("resblock_dilation_sizes", ((1, 3, 5),) * 3),
    "upsample_rates": ("upsample_rates", (8, 8, 2, 2)),
    "upsample_initial_channel": ("upsample_initial_channel", 512),
    "upsample_kernel_sizes": ("upsample_kernel_sizes", (16, 16, 4, 4)),
}
# What every published checkpoint has, and our modules have built in.
FIXED: dict[str, Any] = {
    "use_bias": True,
    "hidden_act": "relu",
    "layer_norm_eps": 1e-5,
    "leaky_relu_slope": 0.1,
    "wavenet_kernel_size": 5,
    "wavenet_dilation_rate": 1,
    "depth_separable_channels": 2,
    "depth_separable_num_layers": 3,
    "duration_predictor_flow_bins": 10,
    "duration_predictor_tail_bound": 5.0,
    "duration_predictor_kernel_size": 3,
    "duration_predictor_num_flows": 4,
}
MEL_BANDS = 80


def load_hf(folder: Path) -> Voice:
    """Load a Hugging Face VITS folder.

    Raises:
        SpeechError: a file is missing or broken, a setting that our modules do not
            have, or weights of another architecture.
    """
    source = folder / "config.json"
    values = read_object(source)
    extras = _optional_object(folder / EXTRAS_NAME)
    tokenizer = _optional_object(folder / "tokenizer_config.json")
    with explaining_settings(source):
        config = hf_to_config(values)
    weights = _load_weights(folder)
    with explaining_settings(source):
        arrays, unknown = from_hf(weights, config)
    if extras.get("n_speakers") == 1 and "emb_g.weight" in arrays:
        config = replace(config, n_speakers=1)
        arrays["emb_g.weight"] = arrays["emb_g.weight"][:1]
    model = build_model(config, source)
    load_from_torch(model, arrays, str(folder), unknown)
    with explaining_settings(folder):
        return Voice(
            model=model,
            mel_spec=MelSpec.from_dict(extras["mel"])
            if "mel" in extras
            else _mel_spec(values, config),
            vocabulary=vocabulary_from_dict(extras["vocabulary"])
            if "vocabulary" in extras
            else _vocabulary(folder, tokenizer),
            speakers=extras.get("speakers", ()),
            inference={
                "noise_scale": values.get("noise_scale", 0.667),
                "noise_scale_w": values.get("noise_scale_duration", 0.8),
                "length_scale": 1.0 / values.get("speaking_rate", 1.0),
            },
            reads_ipa=extras.get("reads_ipa", tokenizer.get("phonemize", True)),
        )


def save_hf(folder: Path, voice: Voice, dtype: mx.Dtype | None = None) -> list[str]:
    """Write a folder that ``VitsModel`` and ``VitsTokenizer`` of transformers load.

    Args:
        folder: replaced as a whole.
        voice: with HiFi-GAN's generator and its first kind of residual blocks.
        dtype: of the weights; None keeps the model's.

    Returns:
        What a user of the folder should know, one sentence each.

    Raises:
        SpeechError: the layout cannot hold this voice, or the folder cannot be written.
    """
    config = voice.config
    _refuse_what_hf_lacks(config)
    notes = []
    arrays = flatten_parameters(voice.model)
    if config.n_speakers == 1:
        # A table of one row is left out by transformers, and the speaker with it.
        config = replace(config, n_speakers=2)
        arrays["emb_g.weight"] = mx.concatenate([arrays["emb_g.weight"]] * 2)
        notes.append("the speaker table has two equal rows: call with speaker_id=0")
    symbols, tokenizer, note = _tokenizer(voice.vocabulary, voice.reads_ipa)
    notes += [note] if note else []
    settings = config_to_hf(config, voice)
    settings["dtype"] = str(dtype or mx.float32).removeprefix("mlx.core.")
    extras = {
        "mel": voice.mel_spec.to_dict(),
        "vocabulary": voice.vocabulary.to_dict(),
        "speakers": list(voice.speakers),
        "n_speakers": voice.config.n_speakers,
        "reads_ipa": voice.reads_ipa,
    }
    with replacing_folder(folder) as temporary:
        for name, content in (
            ("config.json", settings),
            ("vocab.json", symbols),
            ("tokenizer_config.json", tokenizer),
            (EXTRAS_NAME, extras),
        ):
            write_json(temporary / name, content)
        save_safetensors(
            temporary / SINGLE_NAME,
            cast_floats(to_hf(arrays, config), dtype),
            {"format": "pt"},
        )
    return notes


def hf_to_config(values: Mapping[str, Any]) -> VitsConfig:
    """Our configuration from transformers' ``VitsConfig``.

    Raises:
        SpeechError: a setting that our modules do not have.
    """
    wrong = [
        f"{key} is {values[key]} instead of {needed}"
        for key, needed in FIXED.items()
        if values.get(key, needed) != needed
    ]
    shapes = {
        ours: values.get(theirs, default)
        for theirs, (ours, default) in SETTINGS.items()
    }
    if not shapes["use_sdp"]:
        channels = values.get("duration_predictor_filter_channels", 256)
        if channels != DETERMINISTIC_CHANNELS:
            wrong.append(f"duration_predictor_filter_channels is {channels}")
    n_speakers = values.get("num_speakers", 1)
    gin_channels = values.get("speaker_embedding_size", 0)
    if (n_speakers > 1) != bool(gin_channels):
        wrong.append(f"{n_speakers} speakers with {gin_channels} channels")
    if wrong:
        raise SpeechError(
            f"this VITS model cannot be loaded: {'; '.join(wrong)}",
            "only models with the settings of the published checkpoints are known",
        )
    many = n_speakers > 1
    return VitsConfig.from_dict(
        shapes | {"n_speakers": n_speakers * many, "gin_channels": gin_channels * many}
    )


def config_to_hf(config: VitsConfig, voice: Voice) -> dict[str, Any]:
    """The content of transformers' config.json."""
    settings = {
        theirs: getattr(config, ours) for theirs, (ours, _default) in SETTINGS.items()
    }
    dropout = dict.fromkeys(
        ("attention_dropout", "activation_dropout"), config.p_dropout
    )
    return {
        "architectures": ["VitsModel"],
        "model_type": MODEL_TYPE,
        **settings,
        **dropout,
        **FIXED,
        "duration_predictor_filter_channels": DETERMINISTIC_CHANNELS,
        "num_speakers": max(config.n_speakers, 1),
        "speaker_embedding_size": config.gin_channels,
        "sampling_rate": voice.sample_rate,
        "noise_scale": voice.inference["noise_scale"],
        "noise_scale_duration": voice.inference["noise_scale_w"],
        "speaking_rate": 1.0 / voice.inference["length_scale"],
    }


def _refuse_what_hf_lacks(config: VitsConfig) -> None:
    if config.decoder != "hifigan" or config.resblock != "1":
        decoder = (
            f"the decoder `{config.decoder}`"
            if config.decoder != "hifigan"
            else f"residual blocks of kind {config.resblock}"
        )
        raise SpeechError(
            f"this voice has {decoder}, which the Hugging Face layout lacks",
            "it holds HiFi-GAN's generator with residual blocks of kind 1 only",
        )


def _load_weights(folder: Path) -> dict[str, mx.array]:
    has_safetensors = any((folder / n).is_file() for n in (SINGLE_NAME, INDEX_NAME))
    if not has_safetensors and (folder / TORCH_NAME).is_file():
        content = load_torch_checkpoint(folder / TORCH_NAME)
        return {name: mx.array(array) for name, array in content.items()}
    return load_safetensors(folder)


def _mel_spec(values: Mapping[str, Any], config: VitsConfig) -> MelSpec:
    n_fft = 2 * (config.spec_channels - 1)
    rate = values.get("sampling_rate", 16000)
    # Bands only serve the training's loss; the published trainings all have these.
    return MelSpec(rate, n_fft, config.hop_length, n_fft, MEL_BANDS)


def _vocabulary(folder: Path, tokenizer: Mapping[str, Any]) -> Vocabulary:
    symbols = read_object(folder / "vocab.json")
    normalize = tokenizer.get("normalize", True)
    phonemize = tokenizer.get("phonemize", True)
    return CharacterVocabulary(
        symbols,
        add_blank=tokenizer.get("add_blank", True),
        # Phonemes come from outside, and capital letters mean other sounds.
        lowercase=normalize and not phonemize,
        unknown="drop" if normalize and not phonemize else "refuse",
        language=tokenizer.get("language"),
        roman_only=tokenizer.get("is_uroman", False),
    )


def _tokenizer(
    vocabulary: Vocabulary, reads_ipa: bool
) -> tuple[dict[str, int], dict[str, Any], str]:
    """vocab.json, tokenizer_config.json, and a note (empty: none)."""
    note = ""
    settings: dict[str, Any] = {
        "tokenizer_class": "VitsTokenizer",
        "phonemize": reads_ipa,
        "unk_token": "<unk>",
    }
    if isinstance(vocabulary, CharacterVocabulary):
        symbols = vocabulary.symbols
        settings |= {
            "add_blank": vocabulary.add_blank,
            "normalize": vocabulary.lowercase or reads_ipa,
            "language": vocabulary.language,
            "is_uroman": vocabulary.roman_only,
        }
    else:
        symbols = {symbol: index for index, symbol in enumerate(ARPABET_SYMBOLS)}
        settings |= {"add_blank": True, "normalize": False, "is_uroman": False}
        note = (
            "transformers' tokenizer does not read English: give the model the ids "
            "that our vocabulary makes"
        )
    blanks = [symbol for symbol, index in symbols.items() if index == 0]
    if not blanks:
        raise SpeechError("the vocabulary has no symbol with id 0, the blank")
    return symbols, settings | {"pad_token": blanks[0]}, note


def _optional_object(path: Path) -> dict[str, Any]:
    return read_object(path) if path.is_file() else {}
