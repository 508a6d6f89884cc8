"""Opening the model that a command shall listen with."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlx_speech.cli.console import Bar, print_note
from mlx_speech.cli.listening_flags import DecodingFlags, ModelFlags, Task
from mlx_speech.errors import SpeechError

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

    from mlx_speech import backend
    from mlx_speech.models import load_listener

    folder = find_folder(flags, quiet)
    if flags.memory_limit is not None:
        backend.limit_memory(flags.memory_limit)
    else:
        backend.limit_waiting_buffers()
    if flags.threads and not backend.use_threads(flags.threads):
        print_note("note: --threads has no effect: OpenBLAS computes nothing here")
    dtype = {None: None, True: mx.float16, False: mx.float32}[flags.fp16]
    return load_listener(folder, dtype=dtype)


def find_folder(flags: ModelFlags, quiet: bool) -> Path:
    """Find the model, and download it when it is nowhere on this machine."""
    from mlx_speech.models import find_listener

    with ExitStack() as stack:
        bar: Bar | None = None

        def show(state: Download) -> None:
            nonlocal bar
            if bar is None:
                if not quiet:
                    size = f"{state.total / MEGABYTE:.0f} MB"
                    print_note(f"downloading {state.repo}, {size}")
                bar = stack.enter_context(Bar("downloading", quiet))
            done, total = state.done // MEGABYTE, state.total // MEGABYTE
            bar.update(done, max(total, 1), "MB")

        return find_listener(
            flags.model,
            offline=flags.offline,
            cache=flags.model_dir,
            on_download=show,
        )


def require_languages(model: Any, flags: ModelFlags, decoding: DecodingFlags) -> None:
    """Say that a Whisper of one language cannot do what is asked of other ones.

    Raises:
        SpeechError: another language, a translation, or a search for languages.
    """
    from mlx_speech.whisper.decoding import tokenizer_of
    from mlx_speech.whisper.languages import LANGUAGES
    from mlx_speech.whisper.model import Whisper

    if not isinstance(model, Whisper):
        return
    only = tokenizer_of(model).only_language
    if only is None:
        return
    if flags.code not in (None, only):
        asked = f"and the language is {LANGUAGES[flags.code]}", "--language"
    elif decoding.task is Task.translate:
        asked = "and has nothing to translate", "--task"
    elif decoding.multilingual:
        asked = "and has no languages to detect", "--multilingual"
    else:
        return
    raise SpeechError(
        f"the model `{flags.model}` hears {LANGUAGES[only].title()} only, {asked[0]}",
        f"leave out {asked[1]}, or take a model of many languages",
    )


def fitting(
    model: Any, options: Mapping[str, Any], defaults: Mapping[str, Any]
) -> dict[str, Any]:
    """The options that a model's family knows.

    Args:
        model: that listens.
        options: of ``mlx_speech.transcribe``, as Whisper has them.
        defaults: what they are when the user asks for nothing.

    Raises:
        SpeechError: one was asked for that the family does not know.
    """
    from mlx_speech.models import listening_options

    known = listening_options(model)
    fit = {name: value for name, value in options.items() if name in known}
    for name, value in options.items():
        if name not in known and value != defaults.get(name):
            speech = "vad-method" if value else "no-vad"
            flag = {
                "find_speech": speech,
                "rfft": "fft",
                "delay_tokens": "delay-ms",
            }.get(name, name)
            flag = flag.replace("_", "-")
            raise SpeechError(
                f"--{flag} means nothing to {type(model).__name__}",
                "leave it out, or take a model that knows it",
            )
    # One temperature is all that a family takes which does not decode again.
    if "compression_ratio_threshold" not in known and "temperature" in fit:
        fit["temperature"] = fit["temperature"][0]
    return fit
