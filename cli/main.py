"""The command ``mlx-speech``: one file per command, heavy imports inside them."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any, NoReturn

import typer
from typer.core import TyperGroup

from mlx_speech.cli import (
    ask,
    bench,
    check_data,
    convert,
    doctor,
    fft,
    listen,
    prepare,
    speak,
    train_vits,
    train_whisper,
    training_command,
    transcribe,
    verify_kernels,
)
from mlx_speech.cli.console import (
    discard_output,
    open_missing_streams,
    print_error,
)
from mlx_speech.cli.grouped_options import SwitchCommand
from mlx_speech.errors import SpeechError

EXIT_CODES = """
Exit codes: 0 all done; 1 something could not be done, one `error:` line says what;
2 wrong usage; 130 stopped by Ctrl-C. `MLX_SPEECH_DEBUG=1` shows where an error arose.

Example: `mlx-speech train-vits --demo`; then
`mlx-speech speak "Hello." --voice runs/demo -o hello.wav`
"""


class Commands(TyperGroup):
    """All commands; Ctrl-C in any of them is said in one line."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command that was asked for."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            print_error("stopped")
            raise typer.Exit(130) from None


app = typer.Typer(
    name="mlx-speech",
    help="Speech on Apple silicon with MLX: transcribe, train a voice, let it speak.",
    epilog=EXIT_CODES,
    cls=Commands,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    context_settings={
        "help_option_names": ["-h", "--help"],
        # Users of whisper type --output_dir, users of mlx_lm --output-dir.
        "token_normalize_func": lambda token: token.replace("_", "-"),
    },
)


def _print_version(wanted: bool) -> None:
    if wanted:
        from mlx_speech import __version__

        typer.echo(f"mlx-speech {__version__}")
        raise typer.Exit


@app.callback()
def _global_options(
    version: Annotated[
        bool,
        typer.Option(
            "--version", "-V", callback=_print_version, is_eager=True, help="Version."
        ),
    ] = False,
) -> None:
    pass


app.command("transcribe", epilog=transcribe.EXAMPLES, cls=SwitchCommand)(
    transcribe.transcribe
)
app.command("ask", epilog=ask.EXAMPLES)(ask.ask)
app.command("listen", epilog=listen.EXAMPLES, cls=SwitchCommand)(listen.listen)
app.command("prepare", epilog=prepare.EXAMPLES, cls=SwitchCommand)(prepare.prepare)
app.command("check-data", epilog=check_data.EXAMPLES)(check_data.check_data)
app.command(
    "train-vits", epilog=train_vits.EXAMPLES, context_settings=training_command.CONTEXT
)(train_vits.train_vits)
app.command(
    "train-whisper",
    epilog=train_whisper.EXAMPLES,
    context_settings=training_command.CONTEXT,
)(train_whisper.train_whisper)
app.command("speak", epilog=speak.EXAMPLES)(speak.speak)
app.add_typer(
    fft.app,
    name="fft",
    help="Find, distil, quantise, judge and export a learned Fourier transform.",
    epilog=fft.EXAMPLES,
)
app.command("convert", epilog=convert.EXAMPLES)(convert.convert)
app.add_typer(
    bench.app,
    name="bench",
    help="Measure this machine, a model or a voice.",
    epilog=bench.EXAMPLES,
)
app.command("verify-kernels", epilog=verify_kernels.EXAMPLES)(
    verify_kernels.verify_kernels
)
app.command("doctor", epilog=doctor.EXAMPLES)(doctor.doctor)


def main() -> None:
    """Run the command line; every expected failure ends in one clear line."""
    open_missing_streams()
    try:
        with _tidy_when_terminated():
            app(prog_name="mlx-speech")
    except (SpeechError, OSError, MemoryError) as error:
        if os.environ.get("MLX_SPEECH_DEBUG"):
            raise
        _fail(_in_words(error))


@contextmanager
def _tidy_when_terminated() -> Iterator[None]:
    """Let SIGTERM end the command as an error would: no half-written file stays."""
    before = signal.getsignal(signal.SIGTERM)
    if before != signal.SIG_DFL:
        yield
        return

    def end(number: int, frame: Any) -> NoReturn:
        # The exit code that a shell gives what a signal has ended.
        raise SystemExit(128 + number)

    signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _in_words(error: SpeechError | OSError | MemoryError) -> SpeechError:
    if isinstance(error, SpeechError):
        return error
    if isinstance(error, OSError):
        place = "" if error.filename is None else f"`{error.filename}`: "
        return SpeechError(f"{place}{error.strerror or error}")
    # numpy says how much was wanted, others nothing.
    size = str(error).partition(" for an array")[0]
    rest = f": {size}" if size else ""
    return SpeechError(f"the memory of this machine is not enough{rest}")


def _fail(error: SpeechError) -> NoReturn:
    print_error(error.message, error.hint)
    try:
        sys.stdout.flush()
    except OSError:
        discard_output()
    sys.exit(error.exit_code)


if __name__ == "__main__":
    main()
