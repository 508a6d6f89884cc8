"""The feature cache: what makes a hit, and what a kill or a bad disk leaves behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from mlx_speech.corpus import FeatureCache, Utterance
from mlx_speech.errors import SpeechError


class Computation:
    """Counts its calls; every call returns other numbers."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, utterance: Utterance) -> dict[str, np.ndarray]:
        self.calls += 1
        return {
            "mel": np.full((3, 2), self.calls, np.float32),
            "file": np.arange(4, dtype=np.int16),
            "scalar": np.float16(0.5),
        }


@pytest.fixture
def utterance(tmp_path: Path) -> Utterance:
    path = tmp_path / "a.wav"
    path.write_bytes(b"sound" * 100)
    return Utterance("a", path, "words")


@pytest.fixture
def cache(tmp_path: Path) -> FeatureCache:
    return FeatureCache(tmp_path / "cache")


def test_the_second_reading_comes_from_the_disk(
    cache: FeatureCache, utterance: Utterance
) -> None:
    compute = Computation()
    first = cache.get(utterance, {"hop": 256}, compute)
    second = FeatureCache(cache.folder).get(utterance, {"hop": 256}, compute)
    assert compute.calls == 1
    assert first.keys() == second.keys() == {"mel", "file", "scalar"}
    for name in first:
        assert first[name].dtype == second[name].dtype
        np.testing.assert_array_equal(first[name], second[name])


def test_settings_and_content_are_the_key_and_names_are_not(
    cache: FeatureCache, utterance: Utterance, tmp_path: Path
) -> None:
    compute = Computation()
    cache.get(utterance, {"hop": 256, "rate": 8000}, compute)
    cache.get(utterance, {"rate": 8000, "hop": 256}, compute)
    assert compute.calls == 1
    cache.get(utterance, {"hop": 128, "rate": 8000}, compute)
    assert compute.calls == 2
    renamed = utterance.audio_path.rename(tmp_path / "b.wav")
    same = Utterance("b", renamed, "words")
    cache.get(same, {"hop": 128, "rate": 8000}, compute)
    assert compute.calls == 2
    renamed.write_bytes(b"other sound")
    cache.get(same, {"hop": 128, "rate": 8000}, compute)
    assert compute.calls == 3
    assert (cache.hits, cache.misses) == (2, 3)


def test_every_kind_of_damage_is_computed_again(
    cache: FeatureCache, utterance: Utterance
) -> None:
    compute = Computation()
    cache.get(utterance, {}, compute)
    path = cache.entry_path(utterance, {})
    whole = path.read_bytes()
    generator = np.random.default_rng(0)
    cuts = [whole[:length] for length in (0, 1, 31, 32, 33, len(whole) - 1)]
    flips = []
    for place in generator.integers(0, len(whole), 20).tolist():
        flipped = bytearray(whole)
        flipped[place] ^= 1 << int(generator.integers(8))
        flips.append(bytes(flipped))
    for number, damaged in enumerate([*cuts, *flips], start=2):
        path.write_bytes(damaged)
        found = cache.get(utterance, {}, compute)
        assert found["mel"][0, 0] == number
        again = cache.get(utterance, {}, compute)
        assert again["mel"][0, 0] == number
    assert compute.calls == 1 + len(cuts) + len(flips)


def test_shapes_are_those_of_the_features_and_cost_no_reading(
    cache: FeatureCache, utterance: Utterance
) -> None:
    compute = Computation()
    expected = {"mel": (3, 2), "file": (4,), "scalar": ()}
    assert cache.shapes(utterance, {}, compute) == expected
    assert (compute.calls, cache.hits, cache.misses) == (1, 0, 1)
    assert cache.shapes(utterance, {}, compute) == expected
    assert (compute.calls, cache.hits, cache.misses) == (1, 0, 1)


def test_an_entry_that_was_cut_short_has_no_shapes(
    cache: FeatureCache, utterance: Utterance
) -> None:
    compute = Computation()
    cache.get(utterance, {}, compute)
    path = cache.entry_path(utterance, {})
    whole = path.read_bytes()
    for calls, length in enumerate((0, 31, 33, 500, len(whole) - 1), start=2):
        path.write_bytes(whole[:length])
        assert cache.shapes(utterance, {}, compute)["mel"] == (3, 2)
        assert compute.calls == calls
        assert path.read_bytes()[32:36] == whole[32:36]


def test_a_failing_computation_leaves_nothing(
    cache: FeatureCache, utterance: Utterance
) -> None:
    def fail(_: Utterance) -> dict[str, np.ndarray]:
        raise SpeechError("no features today")

    with pytest.raises(SpeechError, match="today"):
        cache.get(utterance, {}, fail)
    assert not list(cache.folder.rglob("*"))


def test_objects_are_no_features(cache: FeatureCache, utterance: Utterance) -> None:
    with pytest.raises(TypeError, match="`words`"):
        cache.get(utterance, {}, lambda _: {"words": np.array([None])})


def test_an_absent_recording_is_explained(cache: FeatureCache, tmp_path: Path) -> None:
    gone = Utterance("gone", tmp_path / "gone.wav", "words")
    with pytest.raises(SpeechError, match=r"gone\.wav"):
        cache.get(gone, {}, Computation())


def test_a_folder_that_cannot_be_written_is_explained(
    utterance: Utterance, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    cache = FeatureCache(tmp_path / "file")
    with pytest.raises(SpeechError, match="cannot be written"):
        cache.get(utterance, {}, Computation())


def test_old_half_written_entries_are_swept(
    cache: FeatureCache, utterance: Utterance
) -> None:
    cache.get(utterance, {}, Computation())
    entry = cache.entry_path(utterance, {})
    old = entry.with_name(f".{entry.stem}.0123abcd{entry.suffix}")
    new = entry.with_name(f".{entry.stem}.4567abcd{entry.suffix}")
    for path in (old, new):
        path.write_bytes(b"half")
    os.utime(old, (time.time() - 7200,) * 2)
    FeatureCache(cache.folder)
    assert {path.name for path in entry.parent.iterdir()} == {entry.name, new.name}


WRITER = """
import sys
import numpy as np
from pathlib import Path
from mlx_speech.corpus import FeatureCache, Utterance

cache = FeatureCache(sys.argv[1])
utterance = Utterance("a", Path(sys.argv[2]), "words")
print("ready", flush=True)
number = 0
while True:
    number += 1
    settings = {"number": number % 4}
    cache.entry_path(utterance, settings).unlink(missing_ok=True)
    value = np.full(200_000, number % 4, np.float32)
    cache.get(utterance, settings, lambda _: {"x": value})
"""


def nothing(_: Utterance) -> dict[str, np.ndarray]:
    return {}


def test_two_writers_that_are_killed_never_leave_a_wrong_entry(
    cache: FeatureCache, utterance: Utterance
) -> None:
    arguments = (cache.folder, utterance.audio_path)
    command = [sys.executable, "-c", WRITER, *map(str, arguments)]
    writers = [
        subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)
    ]
    try:
        for writer in writers:
            assert writer.stdout is not None
            assert writer.stdout.readline() == "ready\n"
        stop = time.monotonic() + 0.7
        while time.monotonic() < stop:
            for number in range(4):
                reader = FeatureCache(cache.folder)
                if reader.entry_path(utterance, {"number": number}).exists():
                    found = reader.get(utterance, {"number": number}, nothing)
                    assert not found or (found["x"] == number).all()
    finally:
        for writer in writers:
            writer.send_signal(signal.SIGKILL)
            writer.wait()
            assert writer.stdout is not None
            writer.stdout.close()
    for number in range(4):
        found = cache.get(utterance, {"number": number}, nothing)
        assert not found or (found["x"] == number).all()
