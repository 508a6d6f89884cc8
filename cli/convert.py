"""``mlx-speech convert``: a voice from one layout to another."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from mlx_speech.cli.console import print_note
from mlx_speech.errors import SpeechError

EXAMPLES = (
    "Examples: `mlx-speech convert mms-tts-eng --to mlx -o voices/mms`, "
    "`mlx-speech convert G_100000.pth --config ljs_base.json --to mlx -o voices/ljs "
    "--dtype float16`, `mlx-speech convert runs/me --to hf -o me-hf`."
)


class Layout(str, Enum):
    """Layouts that can be written."""

    mlx = "mlx"
    hf = "hf"


class Precision(str, Enum):
    """Element types that weights can be stored in."""

    float16 = "float16"
    float32 = "float32"


def convert(
    source: Annotated[
        Path,
        typer.Argument(
            help="A voice: our folder or a training run's, a Hugging Face VitsModel "
            "folder, or a G_*.pth of the VITS release."
        ),
    ],
    to: Annotated[
        Layout,
        typer.Option(help="mlx: our folder. hf: what transformers' VitsModel loads."),
    ],
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder to write.")],
    dtype: Annotated[
        Precision, typer.Option(help="Element type of the written weights.")
    ] = Precision.float32,
    config: Annotated[
        Path | None,
        typer.Option(
            help="config.json of a G_*.pth; looked for beside it when left out."
        ),
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace a model that is at OUTPUT.")
    ] = False,
) -> None:
    """Convert a voice between layouts; nothing is downloaded and no torch is needed."""
    _check_output(output, overwrite)
    import mlx.core as mx

    from mlx_speech.models import model_folder
    from mlx_speech.vits.checkpoints import load_voice, save_voice
    from mlx_speech.vits.hf_layout import save_hf

    voice = load_voice(model_folder(source), config)
    precision = mx.float16 if dtype is Precision.float16 else mx.float32
    if to is Layout.mlx:
        save_voice(output, voice, dtype=precision)
        notes = []
    else:
        notes = save_hf(output, voice, precision)
        if voice.discriminators is not None:
            notes.append("the discriminators are left out: this layout has none")
    if voice.reads_ipa:
        notes.append("this voice reads IPA: phonemize text before it speaks")
    for note in notes:
        print_note(f"note: {note}")
    typer.echo(output)


def _check_output(output: Path, overwrite: bool) -> None:
    if not output.exists() or (output.is_dir() and not any(output.iterdir())):
        return
    # A slip of the finger must not replace a folder of something else.
    if not (output / "config.json").is_file():
        raise SpeechError(
            f"`{output}` exists and is no model", "choose another output folder"
        )
    if not overwrite:
        raise SpeechError(
            f"`{output}` already holds a model",
            "choose another output folder, or replace it with --overwrite",
        )
