"""Butterflies as NumPy files, for programs that know nothing of this library."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from mlx_speech.butterfly.transform import ButterflyTransform
from mlx_speech.errors import SpeechError
from mlx_speech.files import replacing_file


def export_transform(path: str | Path, transform: ButterflyTransform) -> None:
    """Write a transform as ``.npz`` (its stages) or ``.npy`` (its matrix).

    The archive holds ``stage_0``, ... complex64 [blocks, m, r, r], innermost first,
    ``permutation`` int32, ``scale`` float64 and, of a real transform, ``untangle``
    complex64 [2, bins]. One stage in NumPy, with y [points, batch]::

        groups = y.reshape(-1, r, m, batch).transpose(0, 2, 1, 3)
        y = (stage @ groups).transpose(0, 2, 1, 3).reshape(points, batch)

    Raises:
        SpeechError: another suffix; the file cannot be written.
    """
    path = Path(path)
    if path.suffix == ".npy":
        with replacing_file(path) as temporary:
            np.save(temporary, transform.matrix())
        return
    if path.suffix != ".npz":
        raise SpeechError(
            f"`{path}` is neither .npz nor .npy",
            "give a name that ends in .npz (stages) or .npy (matrix)",
        )
    arrays = {
        f"stage_{i}": np.array(weight)
        for i, weight in enumerate(transform.stage_weights())
    }
    arrays["permutation"] = transform.permutation
    arrays["scale"] = np.array(transform.scale)
    if transform.real:
        arrays["untangle"] = np.array(transform.untangling())
    with replacing_file(path) as temporary:
        np.savez(temporary, **arrays)  # type: ignore[arg-type]
