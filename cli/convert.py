"""``mlx-speech convert``: a model from one layout to another."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mlx_speech.cli.console import print_note
from mlx_speech.errors import SpeechError

if TYPE_CHECKING:
    import mlx.core as mx

EXAMPLES = (
    "Examples: `mlx-speech convert mms-tts-eng --to mlx -o voices/mms`, "
    "`mlx-speech convert G_100000.pth --config ljs_base.json --to mlx -o voices/ljs "
    "--dtype float16`, `mlx-speech convert runs/me --to hf -o me-hf`, "
    "`mlx-speech convert whisper-large-v3 --to mlx --quantize 4 -o large-v3-4bit`, "
    "`mlx-speech convert Voxtral-Mini-3B-2507 --to mlx --quantize 4 --dtype bfloat16 "
    "-o voxtral-4bit`."
)


class Layout(str, Enum):
    """Layouts that can be written."""

    mlx = "mlx"
    hf = "hf"


class Precision(str, Enum):
    """Element types that weights can be stored in."""

    float16 = "float16"
    bfloat16 = "bfloat16"
    float32 = "float32"


def convert(
    source: Annotated[
        Path,
        typer.Argument(
            help="A voice: our folder or a training run's, a Hugging Face VitsModel "
            "folder, or a G_*.pth of the VITS release. A Whisper model: a folder from "
            "Hugging Face or mlx-community, or OpenAI's .pt. A Voxtral: a folder from "
            "mistralai, in either layout, or a converted one."
        ),
    ],
    to: Annotated[
        Layout,
        typer.Option(
            help="mlx: our folder, or what mlx-community has of Whisper and Voxtral. "
            "hf: what transformers loads."
        ),
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
    quantize: Annotated[
        int | None,
        typer.Option(
            metavar="BITS",
            help="Whisper and Voxtral to mlx only: quantise to 2, 3, 4, 5, 6 or 8 bits "
            "a weight, in groups of 64. What hears in Voxtral keeps 8 at least.",
        ),
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace a model that is at OUTPUT.")
    ] = False,
) -> None:
    """Convert a model between layouts; nothing is downloaded and no torch is needed."""
    _check_output(output, overwrite)
    import mlx.core as mx

    from mlx_speech.models import BUNDLED, LISTENERS, find_listener, model_family

    if str(source) == BUNDLED and not source.exists():
        source = find_listener(BUNDLED)
    precision = getattr(mx, dtype.value)
    family = model_family(source)
    if family in LISTENERS:
        if config is not None:
            raise SpeechError(
                f"`{source}` is a model that needs no other configuration",
                "leave out --config",
            )
        _convert_listener(source, family, to, output, precision, quantize)
    elif quantize is not None:
        raise SpeechError(
            f"`{source}` is a voice, and voices cannot be quantised",
            "leave out --quantize; --dtype float16 halves a voice",
        )
    else:
        _convert_voice(source, to, output, precision, config)
    typer.echo(output)


def _convert_listener(
    source: Path,
    family: str,
    to: Layout,
    output: Path,
    precision: mx.Dtype,
    bits: int | None,
) -> None:
    if bits is not None and to is Layout.hf:
        raise SpeechError(
            "Hugging Face's layout has no place for quantised weights",
            "use --to mlx, or leave out --quantize",
        )
    from mlx_speech.models import load_model, model_folder

    model = load_model(model_folder(source))
    if family == "whisper":
        from mlx_speech.nn.quantized import quantize
        from mlx_speech.whisper.checkpoints import save_whisper

        if bits is not None:
            quantize(model, bits)
        save_whisper(output, model, precision, layout=to.value)
        return
    from mlx_speech.voxtral.checkpoints import quantize_voxtral
    from mlx_speech.voxtral.listening import save

    if bits is not None:
        quantize_voxtral(model, bits)
    save(output, model, precision, layout=to.value)


def _convert_voice(
    source: Path, to: Layout, output: Path, precision: mx.Dtype, config: Path | None
) -> None:
    from mlx_speech.models import model_folder
    from mlx_speech.vits.checkpoints import load_voice, save_voice
    from mlx_speech.vits.hf_layout import save_hf

    voice = load_voice(model_folder(source), config)
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
