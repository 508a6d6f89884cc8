"""``mlx-speech speak``: text to a sound file, or to the loudspeaker."""

from __future__ import annotations

import json
import sys
import tempfile
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated

import typer

from mlx_speech.cli.console import counting, print_note
from mlx_speech.cli.options import VOICE
from mlx_speech.errors import SpeechError

EXAMPLES = """
Examples:

    mlx-speech speak "Hello there." --voice runs/demo -o hello.wav

    mlx-speech speak --file book.txt --voice runs/demo -o book.flac --speed 1.2

    echo "From a pipe." | mlx-speech speak - --voice runs/demo --play
"""

# MLX takes 64 bits; sentences count up from the seed.
LARGEST_SEED = 2**63 - 1


def speak(
    text: Annotated[
        str | None, typer.Argument(help="What to say; `-` reads standard input.")
    ] = None,
    voice: Annotated[Path | None, VOICE] = None,
    file: Annotated[
        Path | None,
        typer.Option("--file", "-i", help="Read the text from this file, or `-`."),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output-file", "-o", help="Sound file: .wav, .flac or .ogg."),
    ] = None,
    speed: Annotated[float, typer.Option(help="2 is twice as fast.")] = 1.0,
    seed: Annotated[
        int,
        typer.Option(help="The same seed, the same audio.", min=0, max=LARGEST_SEED),
    ] = 0,
    speaker: Annotated[
        str | None,
        typer.Option(
            help="One of the voice's speakers, or a number from 0 where they have no "
            "names [default: first]."
        ),
    ] = None,
    noise_scale: Annotated[
        float | None, typer.Option(help="Variation of the voice [default: its own].")
    ] = None,
    noise_scale_w: Annotated[
        float | None, typer.Option(help="Variation of the rhythm [default: its own].")
    ] = None,
    play: Annotated[bool, typer.Option("--play", help="Play the result.")] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print file, seconds and rate as JSON.")
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No talk.")] = False,
) -> None:
    """Speak text with a trained voice; long text is spoken sentence by sentence."""
    if voice is None:
        raise SpeechError(
            "no voice is chosen", "give `--voice RUN`, or train one with `train-vits`"
        )
    if output is None and not play:
        raise SpeechError(
            "the speech has nowhere to go", "give `-o out.wav`, or `--play`, or both"
        )
    from mlx_speech.audio import save
    from mlx_speech.audio.io import require_savable
    from mlx_speech.cli.player import play as play_file
    from mlx_speech.cli.player import require_player
    from mlx_speech.models import load_voice
    from mlx_speech.models import speak as speak_text
    from mlx_speech.text.ipa import is_ipa

    if output is not None:
        require_savable(output)
    else:
        require_player()
    words = _text(text, file)
    loaded = load_voice(voice, with_discriminators=False)
    if loaded.reads_ipa and not is_ipa(words) and not quiet:
        print_note("note: this voice reads IPA, so the text is read as English")
    with nullcontext(_silent) if quiet else counting("speaking") as advance:
        samples, rate = speak_text(
            words,
            loaded,
            speaker=speaker,
            speed=speed,
            seed=seed,
            noise_scale=noise_scale,
            noise_scale_w=noise_scale_w,
            on_progress=advance,
        )
    seconds = len(samples) / rate
    if output is not None:
        save(output, samples, rate)
        if not as_json:
            print(output)
    if as_json:
        print(
            json.dumps(
                {
                    "file": str(output) if output else None,
                    "seconds": seconds,
                    "sample_rate": rate,
                }
            )
        )
    elif not quiet:
        print_note(f"{seconds:.2f} s at {rate} Hz")
    if play:
        with tempfile.TemporaryDirectory() as folder:
            path = output or Path(folder) / "speech.wav"
            if output is None:
                save(path, samples, rate)
            play_file(path)


def _silent(done: int, total: int) -> None:
    """Shows nothing."""


def _text(text: str | None, file: Path | None) -> str:
    if (text is None) == (file is None):
        raise SpeechError(
            "give the text either as an argument or with `--file`",
            'for example: mlx-speech speak "Hello" --voice RUN -o hello.wav',
        )
    if "-" in (text, str(file)):
        return _decoded(sys.stdin.buffer.read(), "standard input")
    if file is None:
        return str(text)
    try:
        return _decoded(file.read_bytes(), f"`{file}`")
    except OSError as error:
        raise SpeechError(
            f"`{file}` cannot be read: {error.strerror}", "check the path"
        ) from error


def _decoded(content: bytes, source: str) -> str:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise SpeechError(
            f"{source} is not UTF-8 text (byte {error.start})",
            "save it as UTF-8",
        ) from error
