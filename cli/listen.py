"""``mlx-speech listen``: captions of what is said before the microphone."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mlx_speech.cli.console import print_rows
from mlx_speech.cli.grouped_options import grouped
from mlx_speech.cli.listening_flags import DecodingFlags, ModelFlags, Task
from mlx_speech.cli.outcome import STOPPED, broken_off
from mlx_speech.errors import SpeechError

if TYPE_CHECKING:
    from collections.abc import Callable

    from mlx_speech.audio.utterances import UtteranceOptions
    from mlx_speech.cli.captions import Captions
    from mlx_speech.cli.listening_screen import ListeningScreen
    from mlx_speech.cli.live_sound import LiveSound

EXAMPLES = """
Examples:

    mlx-speech listen --language en

    mlx-speech listen -m small -o meeting.srt

    mlx-speech listen --list-devices

    mlx-speech listen -m voxtral-realtime

Each utterance is written down when a pause has ended it; Voxtral Realtime writes while
it hears. Ctrl-C ends; what was said is then in the file. Exit code: 0 ended by Ctrl-C,
1 not possible, or the microphone is gone; 2 wrong usage, 130 stopped by a second Ctrl-C
before all was written down.
"""
# What was cut out of a stream is heard as a whole.
WHOLE = {"find_speech": None, "batch_size": 1}
DEFAULTS = {"task": "transcribe", "initial_prompt": None, **WHOLE}


@grouped
def listen(
    listening: ModelFlags,
    task: Annotated[
        Task, typer.Option(help="translate: into English, whatever is spoken.")
    ] = Task.transcribe,
    initial_prompt: Annotated[
        str | None,
        typer.Option(help="Text as if said before: names, spelling, style."),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            help="Keep the text in this file: .txt, .srt, .vtt, .tsv, .json or .lrc.",
        ),
    ] = None,
    device: Annotated[
        str | None,
        typer.Option(help="Number of a microphone, or part of its name."),
    ] = None,
    list_devices: Annotated[
        bool, typer.Option("--list-devices", help="List the microphones and stop.")
    ] = False,
    input_file: Annotated[
        Path | None,
        typer.Option("--input", help="Listen to this recording instead."),
    ] = None,
    pause: Annotated[
        float, typer.Option(help="Seconds of silence that end an utterance.")
    ] = 0.6,
    max_seconds: Annotated[
        float,
        typer.Option(help="Longer utterances are cut; at most 30.", max=30.0),
    ] = 15.0,
    max_behind: Annotated[
        float,
        typer.Option(
            help="Seconds of sound that may wait for a slow model; of more, the older "
            "half is left out.",
            min=5.0,
            max=3600.0,
        ),
    ] = 60.0,
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="Show times.")
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No talk.")] = False,
) -> None:
    """Write down what is said before the microphone, while it is being said."""
    if list_devices:
        _print_devices()
        return
    from mlx_speech.audio.utterances import UtteranceOptions
    from mlx_speech.cli.captions import Captions, require_savable
    from mlx_speech.cli.listeners import fitting, open_listener, require_languages
    from mlx_speech.cli.listening_screen import ListeningScreen
    from mlx_speech.cli.streamed_captions import follow_stream, hears_streams
    from mlx_speech.models import check_options

    cut = UtteranceOptions(pause=pause, longest=max_seconds)
    options = {
        "language": listening.code,
        "task": task.value,
        "initial_prompt": initial_prompt,
        **WHOLE,
    }
    if output is not None:
        require_savable(output)
    screen = ListeningScreen(quiet, verbose)
    # Before a model is downloaded that nothing could be said to.
    opened = find_sound(input_file, device, max_behind, screen.warn)
    model = open_listener(listening, quiet)
    require_languages(model, listening, DecodingFlags(task=task))
    options = fitting(model, options, DEFAULTS)
    check_options(model, **options)
    captions = Captions(model, options, output)
    follow = follow_stream if hears_streams(model) else follow_utterances
    at_once = False
    with opened() as sound:
        screen.note("listening; Ctrl-C ends")
        try:
            with ctrl_c_ends(sound, screen):
                follow(sound, captions, cut, screen)
        except KeyboardInterrupt:
            at_once = True
    screen.end_line()
    _finish(sound, captions, screen, at_once)


def find_sound(
    path: Path | None,
    device: str | None,
    max_behind: float,
    warn: Callable[[str], None],
) -> Callable[[], AbstractContextManager[LiveSound]]:
    """What opens the sound to listen to: a recording, or the microphone.

    Raises:
        SpeechError: no such recording; or as ``cli.microphone.find_microphone``.
    """
    from mlx_speech.cli.microphone import (
        BLOCK_SECONDS,
        find_microphone,
        open_microphone,
    )
    from mlx_speech.models import LISTENING_RATE

    if path is None:
        microphone = find_microphone(device)
        return lambda: open_microphone(microphone, LISTENING_RATE, max_behind, warn)
    if device is not None:
        raise SpeechError(
            "--device names a microphone, and --input a recording", "give one of both"
        )
    if str(path) != "-" and not path.expanduser().exists():
        raise SpeechError(f"no such audio file: `{path}`", "check the path")
    from mlx_speech.audio import AudioBlocks
    from mlx_speech.audio.io import source_name
    from mlx_speech.cli.live_sound import RecordedSound

    blocks = AudioBlocks(
        path,
        LISTENING_RATE,
        BLOCK_SECONDS,
        lambda missing: warn(broken_off(source_name(path), missing)),
    )
    return lambda: nullcontext(RecordedSound(blocks))


@contextmanager
def ctrl_c_ends(sound: LiveSound, screen: ListeningScreen) -> Iterator[None]:
    """The first Ctrl-C ends the sound, and what waits is heard; a second one stops.

    Raises:
        KeyboardInterrupt: at the second.
    """

    def end(number: int, frame: Any) -> None:
        if sound.stopped:
            raise KeyboardInterrupt
        sound.stop()
        waits = f" ({sound.behind:.0f} s of sound wait)" if sound.behind >= 1 else ""
        # It may have come in the middle of a print, which cannot be entered twice.
        with suppress(RuntimeError):
            screen.note(
                f"ending: what was said is still written down{waits}; Ctrl-C again "
                "stops at once"
            )

    before = signal.getsignal(signal.SIGINT)
    if before == signal.SIG_IGN:
        # In the background of a shell, where Ctrl-C is meant for others.
        yield
        return
    signal.signal(signal.SIGINT, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def follow_utterances(
    sound: LiveSound,
    captions: Captions,
    cut: UtteranceOptions,
    screen: ListeningScreen,
) -> None:
    """Show what is said, utterance by utterance, until the sound ends.

    Args:
        sound: at 16 kHz.
        captions: receives the segments; its file is rewritten after each utterance.
        cut: what ends an utterance.
        screen: shows them.
    """
    from mlx_speech.audio.utterances import find_utterances
    from mlx_speech.models import LISTENING_RATE

    count, taken = 0, 0.0
    try:
        for stretch in sound.stretches():
            for utterance in find_utterances(stretch.blocks, LISTENING_RATE, cut):
                began = time.perf_counter()
                placed = replace(utterance, start=stretch.start + utterance.start)
                new = captions.hear(placed, LISTENING_RATE)
                count, taken = count + 1, taken + time.perf_counter() - began
                try:
                    screen.show(new)
                finally:
                    # Also when nobody reads what is printed any more.
                    if new and captions.output is not None:
                        captions.save()
                screen.tell_behind(sound.behind)
    finally:
        screen.note(
            f"{count} utterance{'s' * (count != 1)}, {taken:.1f} s of computing"
        )


def _finish(
    sound: LiveSound, captions: Captions, screen: ListeningScreen, at_once: bool
) -> None:
    """Keep what was said, and say what was not heard.

    Raises:
        SpeechError: the sound ended before anybody ended it, or not all of it was
            waited for.
    """
    failed = sound.failure is not None or at_once
    # Nothing is no reason to replace an older file when something went wrong.
    if captions.output is not None and (captions.segments or not failed):
        captions.save()
        screen.note(f"wrote {captions.output}")
    for loss in sound.losses():
        screen.warn(loss)
    if sound.failure is not None:
        raise sound.failure
    if at_once:
        error = SpeechError(
            "stopped; what was said last is not written down",
            "one Ctrl-C ends when all is written down",
        )
        error.exit_code = STOPPED
        raise error


def _print_devices() -> None:
    from mlx_speech.cli.microphone import list_devices

    found = list_devices()
    if not found:
        raise SpeechError("there is no microphone", "plug one in")
    print_rows(
        ["number", "name", "rate", ""],
        [
            [str(number), name, f"{rate} Hz", "the usual one" if usual else ""]
            for number, name, rate, usual in found
        ],
    )
