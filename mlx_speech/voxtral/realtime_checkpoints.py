"""Voxtral Realtime's weights in and out of files; see `checkpoints`."""

from __future__ import annotations

from pathlib import Path

import mlx.core as mx
from mlx.utils import tree_flatten

from mlx_speech.errors import SpeechError
from mlx_speech.hub.save import cast_floats
from mlx_speech.voxtral.checkpoints import (
    Layout,
    fill,
    quantization_settings,
    read_config,
    read_weights,
    write_model,
)
from mlx_speech.voxtral.layouts import to_hf_names
from mlx_speech.voxtral.realtime_config import RealtimeConfig
from mlx_speech.voxtral.realtime_layouts import (
    find_realtime_dialect,
    to_realtime_names,
)
from mlx_speech.voxtral.realtime_model import VoxtralRealtime


def load_realtime(path: str | Path, dtype: mx.Dtype | None = None) -> VoxtralRealtime:
    """Load Voxtral Realtime in any of the known layouts.

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
    config = RealtimeConfig.from_dict(read_config(folder))
    arrays = read_weights(folder)
    dialect = find_realtime_dialect(list(arrays), str(folder))
    weights = to_realtime_names(arrays, dialect, config)
    del arrays
    model = VoxtralRealtime(config)
    fill(model, weights, folder, dtype)
    model.folder = folder
    return model


def save_realtime(
    folder: str | Path,
    model: VoxtralRealtime,
    dtype: mx.Dtype | None = None,
    layout: Layout | None = None,
) -> None:
    """Write a model, atomically, and the tokenizer of the folder that it came from.

    Args:
        folder: replaced as a whole.
        model: the model.
        dtype: of the weights; None keeps the model's.
        layout: "hf", which transformers loads, or "mlx". None: "mlx" for a quantised
            model, which the other has no place for, else "hf".

    Raises:
        SpeechError: the folder cannot be written or the disk is full, or the layout has
            no place for quantised layers.
    """
    quantization = quantization_settings(model)
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
    write_model(folder, arrays, content, as_mlx, model.folder)
