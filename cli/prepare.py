"""``mlx-speech prepare``: a folder of recordings becomes one that a voice trains on."""

from __future__ import annotations

import json
import math
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mlx_speech.cli.console import Bar, print_data, print_error, print_note, print_rows
from mlx_speech.cli.grouped_options import grouped
from mlx_speech.cli.listening_flags import DecodingFlags, ModelFlags
from mlx_speech.cli.outcome import broken_off, is_in_vain, some_failed, stopped
from mlx_speech.cli.recordings import (
    STANDARD_INPUT,
    Gathered,
    Recording,
    gather,
    output_names,
)
from mlx_speech.errors import SpeechError

if TYPE_CHECKING:
    import numpy as np

    from mlx_speech.corpus.pieces import Heard, Listener, PieceReport, PieceSettings
    from mlx_speech.corpus.prepared_folder import PreparedFolder

EXAMPLES = """
Examples:

    mlx-speech prepare interviews/ --out my-voice --language en

    mlx-speech check-data my-voice

    mlx-speech train-vits my-voice

The same command goes on where it was stopped, and takes recordings that came since.
Exit code: 0 all done, 1 something failed, 2 wrong usage, 130 stopped by Ctrl-C.
"""
# Text that packs better than this repeats itself: openai-whisper's threshold.
REPETITIVE = 2.4
GO_ON = "what is written is whole; the same command goes on"


@grouped
def prepare(
    recordings: Annotated[
        list[str],
        typer.Argument(
            metavar="FILE|DIR...",
            help="Recordings of one speaker, or folders of them.",
            show_default=False,
        ),
    ],
    out: Annotated[
        Path,
        typer.Option("--out", "-o", help="Folder to write: metadata.csv and wavs/."),
    ],
    listening: ModelFlags,
    recursive: Annotated[
        bool,
        typer.Option("--recursive", "-r", help="Take the folders inside of folders."),
    ] = False,
    min_seconds: Annotated[
        float, typer.Option(help="Shorter pieces are dropped.")
    ] = 1.0,
    max_seconds: Annotated[
        float, typer.Option(help="No piece is longer; at most 30.", max=30.0)
    ] = 10.0,
    sample_rate: Annotated[
        int, typer.Option(min=8000, max=192000, help="Of the pieces, in hertz.")
    ] = 22050,
    min_confidence: Annotated[
        float,
        typer.Option(
            min=0.0, max=1.0, help="Pieces that are understood less well are dropped."
        ),
    ] = 0.4,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Start anew instead of going on.")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the report as JSON.")
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No talk.")] = False,
) -> None:
    """Cut recordings at silences and transcribe the pieces, for `train-vits`."""
    from mlx_speech.cli.listeners import open_listener, require_languages
    from mlx_speech.corpus.pieces import PieceSettings, piece_names
    from mlx_speech.corpus.prepared_folder import PreparedFolder

    settings = PieceSettings(min_seconds, max_seconds, sample_rate, min_confidence)
    _check_lengths(settings)
    language = listening.code
    found = gather(recordings, recursive)
    if any(each.source == STANDARD_INPUT for each in found.recordings):
        raise SpeechError("standard input has no name to go on by", "name files")
    folder = PreparedFolder(
        out,
        {
            "min_seconds": min_seconds,
            "max_seconds": max_seconds,
            "sample_rate": sample_rate,
            "min_confidence": min_confidence,
            "model": listening.model,
            "language": language,
        },
        overwrite,
    )
    sources = _foreign(found, folder.wavs)
    names = folder.names(piece_names(output_names(found.recordings, None)), sources)
    model = open_listener(listening, quiet)
    require_languages(model, listening, DecodingFlags())
    listener = _listener(model, language)
    folder.begin()
    run = _Run(folder, settings, listener, quiet)
    run.problems += found.problems
    try:
        for recording, name in zip(found.recordings, names, strict=True):
            run.take(recording, name)
    except KeyboardInterrupt:
        folder.write_list()
        raise stopped(run.done, len(names), GO_ON) from None
    report = folder.write_list()
    _show(report, as_json)
    if run.problems:
        raise some_failed(run.problems, run.done + len(run.problems))
    if not report.pieces:
        raise SpeechError(
            f"no piece of {report.recordings} recordings is fit for training",
            "the report says why; lower --min-seconds or --min-confidence, or take "
            "another model",
        )
    if not quiet:
        print_note(f"try: mlx-speech train-vits {shlex.quote(str(out))}")


class _Run:
    """Goes through recordings."""

    def __init__(
        self,
        folder: PreparedFolder,
        settings: PieceSettings,
        listener: Listener,
        quiet: bool,
    ) -> None:
        self.folder = folder
        self.settings = settings
        self.listener = listener
        self.quiet = quiet
        self.done = 0
        self.problems: list[tuple[str, SpeechError]] = []

    def take(self, recording: Recording, name: str) -> None:
        """Bring one recording to its end; what fails is kept in ``problems``.

        Raises:
            SpeechError: a piece cannot be written.
        """
        from mlx_speech.corpus.pieces import cut_recording

        source = Path(recording.source)
        try:
            progress = self.folder.progress(name, source)
            if not progress.finished:
                with Bar(recording.title, self.quiet) as bar:

                    def keep(state: Any) -> None:
                        self.folder.keep(name, state)
                        end = state.pieces[-1].end if state.pieces else 0.0
                        total = max(1, round(state.seconds))
                        bar.update(round(end), total, f"s  {len(state.pieces)} pieces")

                    def warn(missing: float) -> None:
                        print_note(f"note: {broken_off(recording.title, missing)}")

                    cut_recording(
                        name,
                        progress,
                        self.settings,
                        self.folder.wavs,
                        self.listener,
                        keep,
                        warn,
                    )
            self.done += 1
        except SpeechError as error:
            if is_in_vain(error):
                raise
            self.problems.append((recording.source, error))
            print_error(error.message, error.hint)


def _listener(model: Any, language: str | None) -> Listener:
    """How the model hears a piece: once, since a second guess makes a bad label."""
    from mlx_speech.cli.listeners import fitting
    from mlx_speech.corpus.pieces import Heard
    from mlx_speech.models import check_options, transcribe

    whole = {"temperature": (0.0,), "find_speech": None, "batch_size": 1}
    options = fitting(model, {"language": language, **whole}, whole)
    check_options(model, **options)

    def listen(samples: np.ndarray) -> Heard:
        result = transcribe(samples, model, **options)
        spoken = [each for each in result.segments if each.text.strip()]
        confidence = min((math.exp(each.avg_logprob) for each in spoken), default=0.0)
        repeats = any(each.compression_ratio > REPETITIVE for each in spoken)
        return Heard(result.text, confidence, "repeats itself" if repeats else "")

    return listen


def _foreign(found: Gathered, wavs: Path) -> list[Path]:
    """Paths of the recordings, of which our own pieces are taken out.

    Raises:
        SpeechError: none is left.
    """
    ours = wavs.resolve()
    given = len(found.recordings)
    found.recordings = [
        each
        for each in found.recordings
        if ours not in Path(each.source).resolve().parents
    ]
    if found.recordings:
        return [Path(each.source) for each in found.recordings]
    if found.problems:
        raise found.problems[0][1]
    raise SpeechError(
        f"the {given} recordings are what `prepare` itself has written to `{wavs}`",
        "name other recordings, or another folder to write to",
    )


def _check_lengths(settings: PieceSettings) -> None:
    """Say before the model is loaded that no piece can be cut."""
    import numpy as np

    from mlx_speech.audio.segment import cut_at_silences

    silence = np.zeros(800, np.float32)
    try:
        cut_at_silences(silence, 8000, settings.longest, settings.shortest)
    except SpeechError as error:
        raise SpeechError(
            error.message, "let --max-seconds be 0.2 more than --min-seconds or further"
        ) from error


def _show(report: PieceReport, as_json: bool) -> None:
    if as_json:
        print_data(json.dumps(report.to_dict()))
        return
    rows = [
        ["recordings", str(report.recordings), _minutes(report.recorded_seconds)],
        ["pieces", str(report.pieces), _minutes(report.seconds)],
    ]
    for reason, count in report.dropped_pieces.items():
        rows.append(
            [f"dropped: {reason}", str(count), _minutes(report.dropped_seconds[reason])]
        )
    rows.append(["silence between", "", _minutes(report.silent_seconds)])
    print_rows(["what", "count", "length"], rows)


def _minutes(seconds: float) -> str:
    return f"{seconds / 3600:.2f} h" if seconds >= 3600 else f"{seconds / 60:.1f} min"
