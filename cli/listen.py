"""``mlx-speech listen``: captions of what is said before the microphone."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mlx_speech.cli.console import print_data, print_note, print_rows
from mlx_speech.cli.grouped_options import grouped
from mlx_speech.cli.listening_flags import ModelFlags, Task
from mlx_speech.errors import SpeechError

if TYPE_CHECKING:
    import numpy as np

    from mlx_speech.audio.utterances import Utterance, UtteranceOptions
    from mlx_speech.writers import Segment, Transcription

EXAMPLES = """
Examples:

    mlx-speech listen --language en

    mlx-speech listen -m small -o meeting.srt

    mlx-speech listen --list-devices

    mlx-speech listen -m voxtral-realtime

Each utterance is written down when a pause has ended it; Voxtral Realtime writes while
it hears. Ctrl-C ends; what was said is then in the file.
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
    from mlx_speech.cli.listeners import fitting, open_listener
    from mlx_speech.cli.streamed_captions import follow_stream, hears_streams
    from mlx_speech.models import LISTENING_RATE

    cut = UtteranceOptions(pause=pause, longest=max_seconds)
    language = listening.code
    if output is not None:
        _check_output(output)
    model = open_listener(listening, quiet)
    options = {
        "language": language,
        "task": task.value,
        "initial_prompt": initial_prompt,
        **WHOLE,
    }
    captions = Captions(model, fitting(model, options, DEFAULTS), output)
    with open_source(input_file, device, LISTENING_RATE) as blocks:
        if not quiet:
            print_note("listening; Ctrl-C ends")
        if hears_streams(model):
            follow_stream(_until_ctrl_c(blocks), captions, cut, verbose)
        else:
            _follow(blocks, LISTENING_RATE, cut, captions, verbose, quiet)
    if output is not None:
        captions.save()
        print_note(f"wrote {output}")


def open_source(
    path: Path | None, device: str | None, sample_rate: int
) -> AbstractContextManager[Iterable[np.ndarray]]:
    """The blocks to listen to: a recording's, or the microphone's.

    Raises:
        SpeechError: as ``cli.microphone.open_microphone``.
    """
    if path is not None:
        from mlx_speech.audio import AudioBlocks
        from mlx_speech.cli.microphone import BLOCK_SECONDS

        return nullcontext(AudioBlocks(path, sample_rate, BLOCK_SECONDS))
    from mlx_speech.cli.microphone import open_microphone

    return open_microphone(device, sample_rate)


class Captions:
    """What was said so far, and the file that it is kept in.

    Args:
        model: that listens.
        options: of ``mlx_speech.transcribe``.
        output: file, rewritten after every utterance; None for none.
    """

    def __init__(
        self, model: Any, options: dict[str, Any], output: Path | None
    ) -> None:
        self.model = model
        self.options = options
        self.output = output
        self.segments: list[Segment] = []
        self.language = options.get("language") or "en"
        self.seconds = 0.0

    def add(self, utterance: Utterance, sample_rate: int) -> list[Segment]:
        """Write down an utterance; its times are those of the stream."""
        from mlx_speech.models import transcribe

        sound = (utterance.samples, sample_rate)
        result = transcribe(sound, self.model, **self.options)
        first = len(self.segments)
        new = [
            _moved(segment, utterance.start, first + number)
            for number, segment in enumerate(
                each for each in result.segments if each.text.strip()
            )
        ]
        self.segments += new
        if new:
            self.language = result.language
        self.seconds = utterance.start + len(utterance.samples) / sample_rate
        if self.output is not None and new:
            self.save()
        return new

    def save(self) -> None:
        """Write the file, whole.

        Raises:
            SpeechError: it cannot be written.
        """
        from mlx_speech.files import replacing_file
        from mlx_speech.writers import render

        assert self.output is not None
        content = render(self.transcription(), self.output.suffix[1:].lower())
        with replacing_file(self.output) as temporary:
            temporary.write_bytes(content.encode("utf-8"))

    def transcription(self) -> Transcription:
        """All that was said."""
        from mlx_speech.writers import Transcription

        text = "".join(segment.text for segment in self.segments)
        return Transcription(text, self.segments, self.language, self.seconds)


def _follow(
    blocks: Iterable[np.ndarray],
    sample_rate: int,
    cut: UtteranceOptions,
    captions: Captions,
    verbose: bool,
    quiet: bool,
) -> None:
    """Show what is said until the stream, or Ctrl-C, ends it."""
    from mlx_speech.audio.utterances import find_utterances
    from mlx_speech.writers import clock

    count, taken = 0, 0.0
    try:
        for utterance in find_utterances(_until_ctrl_c(blocks), sample_rate, cut):
            began = time.perf_counter()
            for segment in captions.add(utterance, sample_rate):
                text = segment.text.strip()
                if verbose:
                    span = f"{clock(segment.start)} --> {clock(segment.end)}"
                    text = f"[{span}]  {text}"
                print_data(text)
            count, taken = count + 1, taken + time.perf_counter() - began
    except KeyboardInterrupt:
        # In the middle of an utterance: what was written down before it is kept.
        pass
    if not quiet:
        print_note(f"{count} utterance{'s' * (count != 1)}, {taken:.1f} s of computing")


def _until_ctrl_c(blocks: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
    """The blocks until Ctrl-C is pressed, so that an open utterance is heard out."""
    try:
        yield from blocks
    except KeyboardInterrupt:
        return


def _moved(segment: Segment, seconds: float, number: int) -> Segment:
    """A segment of an utterance as one of the stream."""
    return replace(
        segment,
        id=number,
        seek=segment.seek + round(100 * seconds),
        start=segment.start + seconds,
        end=segment.end + seconds,
    )


def _check_output(output: Path) -> None:
    from mlx_speech.cli.transcription_output import require_writable
    from mlx_speech.writers import FORMATS

    if output.suffix[1:].lower() not in FORMATS:
        raise SpeechError(
            f"`{output}` ends in no format that can be written",
            f"choose a name that ends in {', '.join(f'.{name}' for name in FORMATS)}",
        )
    if output.is_dir():
        raise SpeechError(f"`{output}` is a folder", "give the name of a file")
    require_writable(output.parent)


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
