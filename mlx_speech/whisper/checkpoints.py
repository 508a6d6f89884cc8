"""Whisper's weights in and out of files.

Read: folders of Hugging Face's models (one safetensors file, shards, or a torch file),
folders of mlx-community (npz or safetensors, quantised too), and OpenAI's ``.pt``.
Written: Hugging Face's layout, which transformers loads; a quantised model, for which
it has none, in mlx-community's.
"""

from __future__ import annotations

import shutil
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import mlx.core as mx
import numpy as np
from mlx.utils import tree_flatten

from mlx_speech.errors import SpeechError
from mlx_speech.files import replacing_folder
from mlx_speech.hub.load import (
    INDEX_NAME,
    SINGLE_NAME,
    load_safetensors,
    load_strict,
    read_object,
)
from mlx_speech.hub.save import cast_floats, save_safetensors, write_json
from mlx_speech.hub.torch_pickle import load_torch_checkpoint
from mlx_speech.nn.conv import current_device
from mlx_speech.nn.projections import fuse, split
from mlx_speech.nn.quantized import quantized_layers, use_quantized_layers
from mlx_speech.nn.speech_encoder import sinusoids
from mlx_speech.whisper.alignment_heads import published_heads
from mlx_speech.whisper.config import WhisperConfig
from mlx_speech.whisper.layouts import (
    CONVOLUTION,
    find_dialect,
    to_hf_names,
    to_mlx_names,
)
from mlx_speech.whisper.model import Whisper
from mlx_speech.whisper.segments import HOP_LENGTH, SAMPLE_RATE
from mlx_speech.whisper.vocabulary import RANKS_FILE, SPECIAL_FILE

Layout = Literal["hf", "mlx"]

MLX_NAMES = ("weights.safetensors", "weights.npz")
TORCH_NAME = "pytorch_model.bin"
GENERATION_NAME = "generation_config.json"
# What transformers, or this package, keeps beside the weights for the tokenizer.
TOKENIZER_NAMES = (
    RANKS_FILE,
    SPECIAL_FILE,
    "added_tokens.json",
    "merges.txt",
    "normalizer.json",
    "special_tokens_map.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "vocab.json",
)
# The token that ends a text; the one that starts it comes next.
ENGLISH_END, MULTILINGUAL_END = 50256, 50257


def load_whisper(path: str | Path, dtype: mx.Dtype | None = None) -> Whisper:
    """Load a Whisper model in any of the known layouts.

    Args:
        path: a folder with config.json and weights, or an OpenAI ``.pt``.
        dtype: to compute in. None: float32 on a CPU, where half precision is slower;
            elsewhere that of the file.

    Returns:
        The model, evaluated, its projections fused; quantised layers stay quantised.

    Raises:
        SpeechError: nothing to load, unreadable, of another architecture, or of sizes
            other than the configuration says.
    """
    path = Path(path)
    config, arrays = _read_folder(path) if path.is_dir() else _read_openai(path)
    dialect = find_dialect(list(arrays), str(path))
    if "alignment_heads" in arrays:
        heads = np.array(arrays.pop("alignment_heads")).reshape(-1, 2).tolist()
        config = config.with_alignment_heads(heads)
    weights = fuse(to_hf_names(arrays, dialect), config.n_audio_state)
    # The parts are freed as soon as they are fused.
    del arrays
    if dialect == "mlx" and "encoder.embed_positions" not in weights:
        table = sinusoids(config.n_audio_ctx, config.n_audio_state)
        weights["encoder.embed_positions"] = table
    model = Whisper(config)
    model.set_dtype(dtype or _default_dtype(weights))
    use_quantized_layers(model, weights)
    # Scales came in the dtype of the throw-away weights that made the layers.
    model.set_dtype(model.dtype)
    load_strict(model, weights, path)
    model.folder = path if path.is_dir() else None
    return model


def save_whisper(
    folder: str | Path,
    model: Whisper,
    dtype: mx.Dtype | None = None,
    special_tokens: Mapping[str, int] | None = None,
    layout: Layout | None = None,
) -> None:
    """Write a model, atomically.

    The tokenizer's and generation's files of the folder that the model came from are
    copied.

    Args:
        folder: replaced as a whole.
        model: fused projections are split again.
        dtype: of the weights; None keeps the model's.
        special_tokens: ids under Hugging Face's names (``eos_token_id``,
            ``decoder_start_token_id`` ...), for a vocabulary of the model's own; those
            of OpenAI's vocabularies and of the folder it came from are known.
        layout: "hf", which transformers loads, or "mlx", that of mlx-community. None:
            "mlx" for a quantised model, which the other has no place for, else "hf".

    Raises:
        SpeechError: the folder cannot be written or the disk is full, or the layout has
            no place for quantised layers, for layers of different precisions, or for
            positions that are learned.
    """
    flat = dict(tree_flatten(model.parameters()))
    arrays = split(cast_floats(flat, dtype))
    quantization = _uniform_quantization(model)
    if quantization and layout == "hf":
        raise SpeechError(
            "this model is quantised, and Hugging Face's layout has no place for that",
            "write it in MLX's layout, or convert the model that it was made of",
        )
    with replacing_folder(folder) as temporary:
        if quantization or layout == "mlx":
            _write_mlx(temporary, model.config, arrays, quantization)
        else:
            dtype = dtype or model.dtype
            _write_hf(temporary, model, arrays, dtype, special_tokens or {})
        for name in TOKENIZER_NAMES:
            if model.folder is not None and (model.folder / name).is_file():
                shutil.copyfile(model.folder / name, temporary / name)


def _read_folder(folder: Path) -> tuple[WhisperConfig, dict[str, mx.array]]:
    if (
        not (folder / "config.json").is_file()
        and (folder / "adapter_config.json").is_file()
    ):
        raise SpeechError(
            f"`{folder}` holds an adapter, not a whole model",
            "merge it into the model that it was trained on",
        )
    config = WhisperConfig.from_dict(read_object(folder / "config.json"))
    if (folder / GENERATION_NAME).is_file():
        heads = read_object(folder / GENERATION_NAME).get("alignment_heads")
        config = config.with_alignment_heads(heads or ())
    return config, _read_weights(folder)


def _read_weights(folder: Path) -> dict[str, mx.array]:
    if any((folder / name).is_file() for name in (SINGLE_NAME, INDEX_NAME)):
        return load_safetensors(folder)
    for name in MLX_NAMES:
        if (folder / name).is_file():
            is_npz = name.endswith(".npz")
            return (_load_npz if is_npz else load_safetensors)(folder / name)
    if (folder / TORCH_NAME).is_file():
        return _to_mlx(load_torch_checkpoint(folder / TORCH_NAME))
    raise SpeechError(
        f"`{folder}` holds a config.json but no weights",
        f"expected {SINGLE_NAME}, {INDEX_NAME}, {', '.join(MLX_NAMES)} or {TORCH_NAME}",
    )


def _read_openai(path: Path) -> tuple[WhisperConfig, dict[str, mx.array]]:
    content = load_torch_checkpoint(path, only=("dims", "model_state_dict"))
    dims, state = content.get("dims"), content.get("model_state_dict")
    if not isinstance(dims, dict) or not isinstance(state, dict):
        raise SpeechError(
            f"`{path}` is no checkpoint of OpenAI's Whisper: it lacks `dims` or "
            "`model_state_dict`",
            "give a .pt of the release, or a folder with config.json",
        )
    config = WhisperConfig.from_dict(dims)
    return config.with_alignment_heads(published_heads(path.stem)), _to_mlx(state)


def _to_mlx(state: Mapping[str, Any]) -> dict[str, mx.array]:
    return {
        name: mx.array(value)
        for name, value in state.items()
        if isinstance(value, np.ndarray)
    }


def _load_npz(path: Path) -> dict[str, mx.array]:
    try:
        with np.load(path, allow_pickle=False) as archive:
            return {name: _from_numpy(archive[name]) for name in archive.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, KeyError) as error:
        raise SpeechError(
            f"`{path}` is truncated or corrupt: {error}", "download or copy it again"
        ) from error


def _from_numpy(array: np.ndarray) -> mx.array:
    # numpy has no bfloat16 and reads it as two bytes without meaning.
    if array.dtype.kind == "V" and array.dtype.itemsize == 2:
        return mx.array(array.view(np.uint16)).view(mx.bfloat16)
    return mx.array(array)


def _default_dtype(weights: Mapping[str, mx.array]) -> mx.Dtype:
    if current_device() == "cpu":
        return mx.float32
    norm = weights.get("decoder.layer_norm.weight")
    return mx.float32 if norm is None else norm.dtype


def _write_hf(
    folder: Path,
    model: Whisper,
    arrays: Mapping[str, mx.array],
    dtype: mx.Dtype,
    special_tokens: Mapping[str, int],
) -> None:
    theirs = {
        f"model.{name}": array.transpose(0, 2, 1)
        if CONVOLUTION.fullmatch(name)
        else array
        for name, array in arrays.items()
    }
    save_safetensors(folder / SINGLE_NAME, theirs, {"format": "pt"})
    config = model.config
    own = {
        "architectures": ["WhisperForConditionalGeneration"],
        "model_type": "whisper",
        "activation_function": "gelu",
        "tie_word_embeddings": True,
        "dtype": str(dtype).removeprefix("mlx.core."),
        **config.to_hf(),
        **special_tokens,
    }
    source = _beside(model, "config.json")
    known = source if "d_model" in source else _special_tokens(config)
    write_json(folder / "config.json", known | own)
    heads = [list(pair) for pair in config.alignment_heads]
    generation = _beside(model, GENERATION_NAME) or _special_tokens(config)
    generation |= {**special_tokens, "alignment_heads": heads}
    write_json(folder / GENERATION_NAME, generation)
    window = config.n_frames * HOP_LENGTH
    seconds, rest = divmod(window, SAMPLE_RATE)
    features = {
        "feature_extractor_type": "WhisperFeatureExtractor",
        "feature_size": config.n_mels,
        "hop_length": HOP_LENGTH,
        "n_fft": 400,
        "sampling_rate": SAMPLE_RATE,
        "chunk_length": window / SAMPLE_RATE if rest else seconds,
        "n_samples": window,
        "nb_max_frames": config.n_frames,
    }
    known = _beside(model, "preprocessor_config.json")
    write_json(folder / "preprocessor_config.json", features | known)


def _write_mlx(
    folder: Path,
    config: WhisperConfig,
    arrays: Mapping[str, mx.array],
    quantization: dict[str, int],
) -> None:
    named = to_mlx_names(arrays)
    # The layout has no place for this table, which its readers compute.
    table = named.pop("encoder.positional_embedding")
    computed = sinusoids(config.n_audio_ctx, config.n_audio_state)
    if not mx.allclose(table.astype(mx.float32), computed, atol=0.01):
        raise SpeechError(
            "the positions are learned, and MLX's layout has no place for them",
            "write it in Hugging Face's layout",
        )
    named["alignment_heads"] = mx.array(config.alignment_heads, mx.int32)
    save_safetensors(folder / MLX_NAMES[0], named)
    content = {"model_type": "whisper", **config.to_openai()}
    if quantization:
        content["quantization"] = quantization
    write_json(folder / "config.json", content)


def _uniform_quantization(model: Whisper) -> dict[str, int]:
    layouts = set(quantized_layers(model).values())
    bits, group = next(iter(layouts), (0, 0))
    if len(layouts) > 1:
        raise SpeechError(
            "the layers of this model are quantised in different ways: "
            + ", ".join(f"{bits} bits in groups of {n}" for bits, n in sorted(layouts)),
            "save a model whose layers are quantised alike",
        )
    return {"group_size": group, "bits": bits} if layouts else {}


def _special_tokens(config: WhisperConfig) -> dict[str, Any]:
    """Ids that transformers wants; it takes those of the .en models for absent ones."""
    names = ("bos_token_id", "eos_token_id", "pad_token_id")
    if not config.has_openai_vocabulary:
        return dict.fromkeys(names)
    end = MULTILINGUAL_END if config.is_multilingual else ENGLISH_END
    return dict.fromkeys(names, end) | {"decoder_start_token_id": end + 1}


def _beside(model: Whisper, name: str) -> dict[str, Any]:
    """A JSON file of the folder that the model came from; empty when there is none."""
    if model.folder is None or not (model.folder / name).is_file():
        return {}
    return read_object(model.folder / name)
