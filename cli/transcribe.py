"""``mlx-speech transcribe``: recordings to text, subtitles or JSON."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mlx_speech.cli.console import as_clock, print_data, print_error
from mlx_speech.cli.grouped_options import grouped
from mlx_speech.cli.listening_flags import DecodingFlags, ModelFlags
from mlx_speech.cli.outcome import (
    broken_off,
    is_in_vain,
    plain_failure,
    some_failed,
    stopped,
)
from mlx_speech.cli.recordings import Recording, gather
from mlx_speech.cli.subtitle_flags import SubtitleFlags
from mlx_speech.cli.transcription_output import (
    OutputFlags,
    json_failure,
    json_line,
)
from mlx_speech.cli.transcription_screen import TranscriptionScreen
from mlx_speech.cli.voxtral_flags import VoxtralFlags
from mlx_speech.errors import SpeechError

if TYPE_CHECKING:
    from mlx_speech.audio.stft import Transform
    from mlx_speech.writers import Transcription, WriterOptions

EXAMPLES = """
Examples:

    mlx-speech transcribe talk.m4a

    mlx-speech transcribe talks/ --recursive -f srt -f txt -o texts --skip-existing

    mlx-speech transcribe - -m bundled --json < command.wav

Without -f and -o the text goes to standard output as it comes. One recording that fails
does not stop the others. Exit code: 0 all done, 1 something failed, 2 wrong usage, 130
stopped by Ctrl-C.
"""
# How to go on after Ctrl-C.
GO_ON = "what is written is whole; the same command with --skip-existing goes on"


@grouped
def transcribe(
    inputs: Annotated[
        list[str],
        typer.Argument(
            metavar="FILE|DIR|-...",
            help="Recordings, folders of them, or `-` for standard input.",
            show_default=False,
        ),
    ],
    listening: ModelFlags,
    decoding: DecodingFlags,
    subtitles: SubtitleFlags,
    voxtral: VoxtralFlags,
    output: OutputFlags,
    fft: Annotated[
        Path | None,
        typer.Option(
            "--fft",
            help="A learned transform in place of the FFT, as `mlx-speech fft` writes "
            "it, of 400 points.",
            rich_help_panel="Model",
        ),
    ] = None,
    recursive: Annotated[
        bool,
        typer.Option(
            "--recursive",
            "-r",
            help="Take the folders inside of folders too.",
        ),
    ] = False,
    verbose: Annotated[
        bool,
        typer.Option(
            "--verbose",
            "-v",
            help="Show every segment with its times.",
        ),
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No talk.")] = False,
) -> None:
    """Write down what is said in recordings."""
    output.check()
    options = {
        "language": listening.code,
        **decoding.options(),
        **subtitles.options(),
        **voxtral.options(),
        **({} if fft is None else {"rfft": _learned_transform(fft)}),
    }
    found = gather(inputs, recursive)
    names = output.names(found.recordings)
    todo = [
        (recording, name)
        for recording, name in zip(found.recordings, names, strict=True)
        if not output.finished(name)
    ]
    screen = TranscriptionScreen(
        quiet,
        prints_text=not output.writes_files and not output.as_json,
        verbose=verbose,
        headed=len(found.recordings) > 1,
    )
    idle = [*decoding.notes(listening.code), *subtitles.notes(output.shown)]
    for note in idle:
        screen.note(f"note: {note}")
    if skipped := len(names) - len(todo):
        screen.note(f"{skipped} of {len(names)} recordings are done already")
    run = _Run(output, subtitles.lines(), screen, options)
    run.total = len(todo) + len(found.problems)
    for given, problem in found.problems:
        run.failed(given, problem)
    if todo:
        from mlx_speech.cli.listeners import (
            fitting,
            open_listener,
            require_languages,
        )
        from mlx_speech.models import check_options

        run.model = open_listener(listening, quiet)
        require_languages(run.model, listening, decoding)
        if decoding.draft is not None:
            guesser = replace(listening, model=decoding.draft)
            options["draft"] = open_listener(guesser, quiet)
        defaults = DecodingFlags().options() | SubtitleFlags().options()
        run.options = fitting(run.model, options, defaults)
        check_options(run.model, **run.options)
        run.go_through(todo)
    run.finish()


def _learned_transform(path: Path) -> Transform:
    from mlx_speech.audio import MelSpec
    from mlx_speech.butterfly.student_storage import load_rfft

    return load_rfft(path, MelSpec.preset("whisper-80").n_fft)


@dataclass
class _Run:
    """Goes through recordings and counts what becomes of them."""

    output: OutputFlags
    lines: WriterOptions
    screen: TranscriptionScreen
    options: dict[str, Any]
    model: Any = None
    total: int = 0
    done: int = 0
    heard_seconds: float = 0.0
    taken_seconds: float = 0.0
    failures: list[tuple[str, SpeechError]] = field(default_factory=list)

    def go_through(self, todo: Iterable[tuple[Recording, str]]) -> None:
        """Transcribe every recording.

        Raises:
            SpeechError: Ctrl-C was pressed, or the disk is full.
        """
        for recording, name in todo:
            try:
                self._take(recording, name)
            except KeyboardInterrupt:
                hint = GO_ON if self.output.writes_files else ""
                raise stopped(self.done, self.total, hint) from None
            except SpeechError as error:
                if is_in_vain(error):
                    raise
                self.failed(recording.source, error)
            except OSError as error:
                self.failed(recording.source, plain_failure(recording.title, error))
            else:
                self.done += 1

    def failed(self, source: str, error: SpeechError) -> None:
        """Say what failed at once: a run may take hours."""
        self.failures.append((source, error))
        if self.output.as_json:
            print_data(json_failure(source, error))
        if self.total > 1:
            print_error(error.message, error.hint)

    def finish(self) -> None:
        """Sum up.

        Raises:
            SpeechError: not all was done.
        """
        if self.total > 1 and self.done:
            speed = self.heard_seconds / max(self.taken_seconds, 1e-6)
            self.screen.note(
                f"{self.done} of {self.total} recordings done: "
                f"{as_clock(self.heard_seconds)} in {as_clock(self.taken_seconds)}, "
                f"{speed:.1f}x real time"
            )
        if not self.failures:
            return
        if self.total == 1:
            raise self.failures[0][1]
        raise some_failed(self.failures, self.total)

    def _take(self, recording: Recording, name: str) -> None:
        from mlx_speech.models import (
            LISTENING_RATE,
            listening_options,
            listening_samples,
            transcribe,
        )

        began = time.perf_counter()

        def warn(missing: float) -> None:
            self.screen.warn(f"note: {broken_off(recording.title, missing)}")

        samples = listening_samples(recording.source, warn)
        seconds = len(samples) / LISTENING_RATE
        streams = "on_text" in listening_options(self.model)
        self.screen.begin(recording.title, seconds, streams)
        options = self.options | {"listener": self.screen.hear}
        if self.screen.on_text is not None:
            options["on_text"] = self.screen.on_text
        try:
            result = transcribe(samples, self.model, **options)
        finally:
            self.screen.end()
        self._put(recording, name, result)
        self.heard_seconds += seconds
        self.taken_seconds += time.perf_counter() - began
        for start, end in getattr(result, "truncated", ()):
            self.screen.warn(
                f"note: the text of {start:.1f} to {end:.1f} s of `{recording.title}` "
                "reached its limit, and may lack its end"
            )
        if not result.text.strip():
            self.screen.note(f"note: nothing is said in `{recording.title}`")
        elif self.options.get("language") is None:
            self.screen.detail(f"the language is {result.language}")

    def _put(self, recording: Recording, name: str, result: Transcription) -> None:
        from mlx_speech.writers import write_transcription

        if self.output.writes_files:
            paths = write_transcription(
                self.output.folder, name, self.output.formats, result, self.lines
            )
            for path in paths:
                if not self.output.as_json:
                    print_data(str(path))
        if self.output.as_json:
            print_data(json_line(recording, result))
