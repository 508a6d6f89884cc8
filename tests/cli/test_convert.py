"""`mlx-speech convert`: layouts in and out, what it says, and the exit code."""

from __future__ import annotations

import json
import os
import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import mlx.core as mx
import numpy as np
import pytest
from safetensors.numpy import load_file

from mlx_speech.audio import MelSpec
from mlx_speech.hub.save import flatten_parameters
from mlx_speech.text.characters import CharacterVocabulary
from mlx_speech.vits.checkpoints import Voice, load_voice, save_voice
from mlx_speech.vits.config import VitsConfig
from mlx_speech.vits.model import SynthesizerTrn

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(command: Run) -> Run:
    """Run the command: exit code, standard output, standard error."""
    return partial(command, "convert")


@pytest.fixture
def voice(tmp_path: Path) -> Path:
    """A small voice in our layout."""
    config = VitsConfig(
        n_vocab=4,
        spec_channels=9,
        inter_channels=4,
        hidden_channels=4,
        filter_channels=4,
        n_layers=1,
        posterior_layers=2,
        resblock_kernel_sizes=(3,),
        resblock_dilation_sizes=((1,),),
        upsample_rates=(4, 2),
        upsample_initial_channel=8,
        upsample_kernel_sizes=(8, 4),
    )
    mx.random.seed(1)
    made = Voice(
        model=SynthesizerTrn(config),
        mel_spec=MelSpec(8000, 16, 8, 16, 4),
        vocabulary=CharacterVocabulary({"_": 0, "a": 1, "b": 2, " ": 3}),
    )
    save_voice(tmp_path / "voice", made)
    return tmp_path / "voice"


def test_to_hugging_face_and_back(run: Run, voice: Path, tmp_path: Path) -> None:
    there, back = tmp_path / "names with spaces ü", tmp_path / "back"
    assert run(voice, "--to", "hf", "-o", there) == (0, f"{there}\n", "")
    assert sorted(path.name for path in there.iterdir()) == [
        "config.json",
        "mlx_speech.json",
        "model.safetensors",
        "tokenizer_config.json",
        "vocab.json",
    ]
    assert json.loads((there / "config.json").read_text())["model_type"] == "vits"
    assert run(there, "--to", "mlx", "-o", back)[0] == 0
    before = flatten_parameters(load_voice(voice).model)
    after = flatten_parameters(load_voice(back).model)
    assert before.keys() == after.keys()
    for name, value in before.items():
        np.testing.assert_allclose(
            np.array(after[name]), np.array(value), rtol=2e-6, atol=1e-7
        )


@pytest.mark.parametrize("layout", ["mlx", "hf"])
def test_half_precision(run: Run, voice: Path, tmp_path: Path, layout: str) -> None:
    out = tmp_path / "half"
    assert run(voice, "--to", layout, "-o", out, "--dtype", "float16")[0] == 0
    dtypes = {x.dtype for x in load_file(out / "model.safetensors").values()}
    assert dtypes == {np.dtype(np.float16)}


def test_a_run_folder_is_a_source(run: Run, voice: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    voice.rename(folder / "model")
    assert run(folder, "--to", "hf", "-o", tmp_path / "out")[0] == 0


def test_what_is_at_the_output_is_not_lost(
    run: Run, voice: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    assert run(voice, "--to", "mlx", "-o", out)[0] == 0
    code, _, err = run(voice, "--to", "hf", "-o", out)
    assert code == 1
    assert "already holds a model" in err
    assert "--overwrite" in err
    assert run(voice, "--to", "hf", "-o", out, "--overwrite")[0] == 0
    assert (out / "vocab.json").exists()
    (out / "config.json").rename(out / "diary.txt")
    code, _, err = run(voice, "--to", "hf", "-o", out, "--overwrite")
    assert code == 1
    assert "exists and is no model" in err
    assert (out / "diary.txt").exists()


def one_line(err: str) -> str:
    errors = [line for line in err.splitlines() if line.startswith("error: ")]
    others = [line for line in err.splitlines() if not line.startswith("hint: ")]
    assert len(errors) == 1
    assert errors == others
    return errors[0]


def test_bad_sources_give_one_line(run: Run, voice: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    empty = tmp_path / "empty"
    empty.mkdir()
    strange = tmp_path / "strange"
    strange.mkdir()
    (strange / "config.json").write_text('{"model_type": "bert"}')
    evil = tmp_path / "G_1.pth"
    mark = tmp_path / "executed"
    with zipfile.ZipFile(evil, "w") as archive:
        command = f"cos\nsystem\n(X{chr(len(f'touch {mark}'))}\0\0\0touch {mark}tR."
        archive.writestr("archive/data.pkl", b"\x80\x02" + command.encode())
    (tmp_path / "config.json").write_text(
        '{"model": {}, "data": {"sampling_rate": 8000, "filter_length": 512,'
        ' "hop_length": 256, "win_length": 512}}'
    )
    cut = voice / "model.safetensors"
    cases = [
        (tmp_path / "absent", "no file or folder"),
        (empty, "holds no config.json"),
        (strange, "unknown layout: model_type is 'bert'"),
        (evil, "was refused: it asks for `os.system`"),
        (voice, "is truncated"),
    ]
    os.truncate(cut, cut.stat().st_size // 2)
    for source, message in cases:
        code, printed, err = run(source, "--to", "mlx", "-o", out)
        assert (code, printed) == (1, "")
        assert message in one_line(err)
        assert not out.exists()
    assert not mark.exists()


def test_an_output_that_cannot_be_written(
    run: Run, voice: Path, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    code, _, err = run(voice, "--to", "mlx", "-o", tmp_path / "file" / "out")
    assert code == 1
    assert "cannot be written" in one_line(err)


def test_wrong_usage_exits_2(run: Run, voice: Path, tmp_path: Path) -> None:
    assert run(voice, "--to", "onnx", "-o", tmp_path / "out")[0] == 2
    assert run(voice, "--to", "mlx")[0] == 2


def test_a_voice_is_not_quantised(run: Run, voice: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    code, _, err = run(voice, "--to", "mlx", "-o", out, "--quantize", "4")
    assert code == 1
    assert "voices cannot be quantised" in one_line(err)
    assert not out.exists()
