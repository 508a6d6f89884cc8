"""The weights of both releases of Voxtral in and out of files.

Read: folders of Hugging Face's models (one safetensors file or shards), Mistral's
``consolidated.safetensors`` with ``params.json``, and MLX conversions, quantised too.
Written: Hugging Face's layout, or the same names with MLX's convolutions.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import mlx.core as mx
import mlx.nn as nn
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
from mlx_speech.nn.conv import current_device
from mlx_speech.nn.quantized import quantize, quantized_layers, use_quantized_layers
from mlx_speech.voxtral.config import VoxtralConfig
from mlx_speech.voxtral.layouts import (
    Arrays,
    Dialect,
    find_dialect,
    to_hf_names,
    to_our_names,
)
from mlx_speech.voxtral.model import Voxtral
from mlx_speech.voxtral.realtime_config import RealtimeConfig
from mlx_speech.voxtral.realtime_layouts import (
    find_realtime_dialect,
    to_realtime_names,
)
from mlx_speech.voxtral.realtime_model import VoxtralRealtime
from mlx_speech.voxtral.tokenizer import FILE_NAME as TOKENIZER_NAME

Layout = Literal["hf", "mlx"]

PARAMS_NAME = "params.json"
CONSOLIDATED_NAME = "consolidated.safetensors"
COPIED_NAMES = (TOKENIZER_NAME, "preprocessor_config.json", "processor_config.json")
# Fewer bits than these would be heard: all that is written comes through these parts.
LEAST_AUDIO_BITS = 8
# Conversions keep norms and biases in single precision, not what most weights are.
_TYPICAL = "language_model.model.layers.0.self_attn.o_proj"


def load_voxtral(path: str | Path, dtype: mx.Dtype | None = None) -> Voxtral:
    """Load Voxtral 2507 in any of the known layouts.

    Args:
        path: a folder with config.json or params.json, and weights.
        dtype: to compute in. None: float32 on a CPU, where half precision is slower;
            elsewhere that of the file.

    Returns:
        The model, evaluated; quantised layers stay quantised.

    Raises:
        SpeechError: nothing to load, unreadable, a shard missing, of another
            architecture, or of sizes other than the configuration says.
    """
    folder = Path(path)
    model = Voxtral(VoxtralConfig.from_dict(read_config(folder)))
    _fill(model, folder, dtype, find_dialect, to_our_names)
    return model


def load_realtime(path: str | Path, dtype: mx.Dtype | None = None) -> VoxtralRealtime:
    """Load Voxtral Realtime; see ``load_voxtral``."""
    folder = Path(path)
    model = VoxtralRealtime(RealtimeConfig.from_dict(read_config(folder)))
    _fill(model, folder, dtype, find_realtime_dialect, to_realtime_names)
    return model


def save_voxtral(
    folder: str | Path,
    model: Voxtral | VoxtralRealtime,
    dtype: mx.Dtype | None = None,
    layout: Layout | None = None,
) -> None:
    """Write a model, atomically, and the tokenizer of the folder that it came from.

    Args:
        folder: replaced as a whole.
        model: of either release; fused projections are split again.
        dtype: of the weights; None keeps the model's.
        layout: "hf", which transformers loads, or "mlx". None: "mlx" for a quantised
            model, which the other has no place for, else "hf".

    Raises:
        SpeechError: the folder cannot be written or the disk is full, or the layout has
            no place for quantised layers.
    """
    quantization = _quantization_settings(model)
    if quantization and layout == "hf":
        raise SpeechError(
            "this model is quantised, and Hugging Face's layout has no place for that",
            "write it in MLX's layout, or convert the model that it was made of",
        )
    as_mlx = bool(quantization) or layout == "mlx"
    flat = dict(tree_flatten(model.parameters()))
    arrays = to_hf_names(cast_floats(flat, dtype), as_mlx)
    name = str(dtype or model.dtype).removeprefix("mlx.core.")
    content = {**model.config.to_hf(), "dtype": name, **quantization}
    _write_model(folder, arrays, content, as_mlx, model.folder)


def quantize_voxtral(
    model: Voxtral | VoxtralRealtime, bits: int, group_size: int = 64
) -> None:
    """Quantise in place: the decoder to ``bits``, what hears to 8 at least.

    Args:
        model: of either release.
        bits: 2, 3, 4, 5, 6 or 8 for each weight of the decoder.
        group_size: 32, 64 or 128 weights share a scale and an offset.

    Raises:
        SpeechError: other numbers, or the model is quantised already.
    """
    quantize(model.language_model, bits, group_size)
    for part in (model.audio_tower, model.multi_modal_projector):
        quantize(part, max(bits, LEAST_AUDIO_BITS), group_size)


def read_config(folder: Path) -> dict[str, Any]:
    """config.json, or Mistral's params.json where there is none.

    Raises:
        SpeechError: there is neither, or it is no JSON object.
    """
    for name in ("config.json", PARAMS_NAME):
        if (folder / name).is_file():
            return read_object(folder / name)
    raise SpeechError(
        f"`{folder}` holds neither config.json nor {PARAMS_NAME}",
        "give the folder of a model",
    )


def _fill(
    model: Voxtral | VoxtralRealtime,
    folder: Path,
    dtype: mx.Dtype | None,
    find: Callable[[Sequence[str], str], Dialect],
    rename: Callable[[Arrays, Dialect, Any], dict[str, mx.array]],
) -> None:
    """Give a new model its weights, quantised layers and dtype.

    Args:
        model: changed in place.
        folder: whose weights they are.
        dtype: see ``load_voxtral``.
        find, rename: which names a checkpoint of this release uses, and ours.
    """
    arrays = _read_weights(folder)
    weights = rename(arrays, find(list(arrays), str(folder)), model.config)
    # The parts are freed as soon as they are fused.
    del arrays
    if dtype is None:
        dtype = mx.float32 if current_device() == "cpu" else _typical_dtype(weights)
    model.set_dtype(dtype)
    use_quantized_layers(model, weights)
    # Scales came in the dtype of the throw-away weights that made the layers.
    model.set_dtype(dtype)
    load_strict(model, weights, folder)
    model.folder = folder


def _read_weights(folder: Path) -> dict[str, mx.array]:
    """All arrays of a model's folder, in whichever files it has."""
    if any((folder / name).is_file() for name in (SINGLE_NAME, INDEX_NAME)):
        return load_safetensors(folder)
    if (folder / CONSOLIDATED_NAME).is_file():
        return load_safetensors(folder / CONSOLIDATED_NAME)
    raise SpeechError(
        f"`{folder}` holds no weights",
        f"expected {SINGLE_NAME}, {INDEX_NAME} or {CONSOLIDATED_NAME}",
    )


def _typical_dtype(weights: Arrays) -> mx.Dtype:
    """Dtype that most of a checkpoint is in; of quantised weights, of their scales."""
    for leaf in ("scales", "weight"):
        array = weights.get(f"{_TYPICAL}.{leaf}")
        if array is not None and mx.issubdtype(array.dtype, mx.floating):
            return array.dtype
    # Loading will say what is missing.
    return mx.float32


def _quantization_settings(model: nn.Module) -> dict[str, Any]:
    """The entry of config.json that tells MLX's loaders what is quantised how."""
    layouts = quantized_layers(model)
    if not layouts:
        return {}
    decoder = [
        value for path, value in layouts.items() if path.startswith("language_model.")
    ]
    bits, group = max(set(decoder), key=decoder.count)
    entry: dict[str, Any] = {"group_size": group, "bits": bits}
    for path, (own_bits, own_group) in layouts.items():
        if (own_bits, own_group) != (bits, group):
            own = {"group_size": own_group, "bits": own_bits}
            for name in to_hf_names({f"{path}.scales": mx.zeros((3, 1))}, True):
                entry[name.removesuffix(".scales")] = own
    return {"quantization": entry}


def _write_model(
    folder: str | Path,
    arrays: Arrays,
    config: Mapping[str, Any],
    as_mlx: bool,
    source: Path | None,
) -> None:
    """Write weights and config.json, and copy what belongs to the tokenizer."""
    with replacing_folder(folder) as temporary:
        kind = "mlx" if as_mlx else "pt"
        save_safetensors(temporary / SINGLE_NAME, arrays, {"format": kind})
        write_json(temporary / "config.json", config)
        generation = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 11}
        write_json(temporary / "generation_config.json", generation)
        for name in COPIED_NAMES:
            if source is not None and (source / name).is_file():
                shutil.copyfile(source / name, temporary / name)
