"""Opening the model that a command shall listen with."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlx_speech.cli.console import Bar, print_note
from mlx_speech.cli.listening_flags import ModelFlags

if TYPE_CHECKING:
    from mlx_speech.hub.download import Download

MEGABYTE = 10**6


def open_listener(flags: ModelFlags, quiet: bool) -> Any:
    """Find, download and load the model.

    A download says its size and shows how far it is.

    Raises:
        SpeechError: as ``mlx_speech.models.find_listener`` and ``load_listener``.
    """
    import mlx.core as mx

    from mlx_speech.models import load_listener

    folder = find_folder(flags, quiet)
    dtype = {None: None, True: mx.float16, False: mx.float32}[flags.fp16]
    return load_listener(folder, dtype=dtype)


def find_folder(flags: ModelFlags, quiet: bool) -> Path:
    """Find the model, and download it when it is nowhere on this machine."""
    from mlx_speech.models import find_listener

    with Bar("downloading", quiet) as bar:
        told = False

        def show(state: Download) -> None:
            nonlocal told
            if not told and not quiet:
                size = f"{state.total / MEGABYTE:.0f} MB"
                print_note(f"downloading {state.repo}, {size}")
            told = True
            done, total = state.done // MEGABYTE, state.total // MEGABYTE
            bar.update(done, max(total, 1), "MB")

        return find_listener(
            flags.model,
            offline=flags.offline,
            cache=flags.model_dir,
            on_download=show,
        )
