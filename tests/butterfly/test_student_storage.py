"""Students through safetensors files, and files that are something else."""

from __future__ import annotations

import json
from pathlib import Path

import mlx.core as mx
import numpy as np
import pytest

from mlx_speech.butterfly import ButterflyFFT, load_transform, save_transform
from mlx_speech.butterfly.corrector import CORRECTORS
from mlx_speech.butterfly.gates import TernaryRoutedFFT
from mlx_speech.butterfly.storage import KEY as TRANSFORM_KEY
from mlx_speech.butterfly.student import RoutedMel, routing_spec
from mlx_speech.butterfly.student_storage import (
    KEY,
    is_student,
    load_rfft,
    load_student,
    save_student,
)
from mlx_speech.errors import SpeechError
from mlx_speech.hub.load import load_safetensors, read_metadata
from mlx_speech.hub.save import save_safetensors


def drawn_student(corrector: str = "gain", mode: str = "drop") -> RoutedMel:
    student = RoutedMel(routing_spec(32, 12), mode, "single", corrector)
    draw = np.random.default_rng(0)
    student.transform.set_gates(draw.integers(-1, 2, (5, 16)))
    student.log_gains = mx.array(draw.standard_normal((17, 12)).astype(np.float32))
    if corrector != "none":
        own = student.corrector.parameters()
        drawn = {
            name: mx.array(draw.standard_normal(each.shape).astype(np.float32))
            for name, each in own.items()
        }
        student.corrector.update(drawn)
    return student


@pytest.mark.parametrize("corrector", CORRECTORS)
def test_a_student_comes_back_bit_for_bit(corrector: str, tmp_path: Path) -> None:
    student = drawn_student(corrector, "skip")
    path = tmp_path / "s.safetensors"
    save_student(path, student, {"seed": "0"})
    again = load_student(path)
    x = mx.random.normal((3, 32), key=mx.random.key(0))
    assert np.array_equal(np.array(again(x)), np.array(student(x)))
    assert np.array_equal(np.array(again.mel_weights), np.array(student.mel_weights))
    assert again.spec == student.spec and again.transform.mode == "skip"
    assert is_student(path) and read_metadata(path)["seed"] == "0"
    assert np.array_equal(np.array(load_rfft(path, 32)(x)), np.array(student(x)))
    bare = load_transform(path)
    assert isinstance(bare, TernaryRoutedFFT)
    assert np.array_equal(bare.matrix(), student.transform.matrix())


def test_a_routed_transform_is_stored_by_itself(tmp_path: Path) -> None:
    transform = drawn_student().transform
    save_transform(tmp_path / "t.safetensors", transform)
    stored = load_safetensors(tmp_path / "t.safetensors")
    assert stored["gates.4"].dtype == mx.int8 and len(stored) == 10
    again = load_transform(tmp_path / "t.safetensors")
    assert np.array_equal(again.matrix(), transform.matrix())
    assert not is_student(tmp_path / "t.safetensors")
    with pytest.raises(SpeechError, match="holds no student"):
        load_student(tmp_path / "t.safetensors")


def test_files_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    path, spoilt = tmp_path / "s.safetensors", tmp_path / "t.safetensors"
    save_student(path, drawn_student())
    arrays, notes = load_safetensors(path), dict(read_metadata(path))

    def refused(message: str, arrays: dict, notes: dict[str, str]) -> None:
        save_safetensors(spoilt, arrays, notes)
        with pytest.raises(SpeechError, match=message):
            load_student(spoilt)

    described, routed = json.loads(notes[KEY]), json.loads(notes[TRANSFORM_KEY])
    spec = described["spec"]
    for name, message in (
        ("gates.2", "missing"),
        ("twiddles.0", "missing"),
        ("student.corrector.gain", "missing"),
    ):
        refused(message, {k: v for k, v in arrays.items() if k != name}, notes)
    more = arrays | {"student.log_gains": mx.zeros((3, 3))}
    refused("`log_gains` has the shape", more, notes)
    refused("stage 1", arrays | {"gates.1": mx.zeros(3, dtype=mx.int8)}, notes)
    sevens = mx.full((16,), 7, dtype=mx.int8)
    refused("none of 0, 1 and -1", arrays | {"gates.1": sevens}, notes)
    for key, change, message in (
        (KEY, described | {"layout": "triple"}, "does not know"),
        (KEY, described | {"spec": 3}, "spectrogram"),
        (KEY, described | {"spec": spec | {"n_mels": None}}, "spectrogram"),
        (KEY, described | {"spec": spec | {"n_mels": 1.5}}, "spectrogram"),
        (KEY, {"layout": "single"}, "other parts"),
        (KEY, described | {"spec": routing_spec(64).to_dict()}, "32 points"),
        (TRANSFORM_KEY, routed | {"real": True}, "routed transform"),
        (TRANSFORM_KEY, routed | {"mode": 3}, "`mode` is 3"),
    ):
        refused(message, arrays, notes | {key: json.dumps(change)})
    refused("not JSON", arrays, notes | {KEY: "{"})


def test_a_front_end_takes_only_what_fits(tmp_path: Path) -> None:
    path = tmp_path / "s.safetensors"
    save_student(path, drawn_student())
    with pytest.raises(SpeechError, match=r"32 points.* needs 400"):
        load_rfft(path, 400)
    save_transform(path, ButterflyFFT(400, inverse=True))
    with pytest.raises(SpeechError, match="inverse"):
        load_rfft(path, 400)
    with pytest.raises(SpeechError, match="no file"):
        load_rfft(tmp_path / "none.safetensors", 400)
