"""Recordings cut into pieces: where, what is dropped, going on after a stop."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from mlx_speech.audio import load
from mlx_speech.corpus import check_corpus, read_corpus
from mlx_speech.corpus.pieces import (
    LISTENING_RATE,
    Heard,
    Piece,
    PieceSettings,
    Progress,
    cut_recording,
    piece_names,
)
from mlx_speech.corpus.prepared_folder import PreparedFolder
from mlx_speech.errors import SpeechError

RATE = 16000
# Seconds of sound, and of the silence before each.
SOUNDS = (1.2, 0.8, 2.0, 1.6, 0.4, 2.4, 1.0)
PAUSES = (0.7, 0.5, 0.9, 2.0, 2.2, 1.8, 0.8)
SETTINGS = PieceSettings(shortest=0.6, longest=4.0, sample_rate=8000)


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    """Sounds between silences."""
    draw = np.random.default_rng(0)
    parts = []
    for number, (sound, pause) in enumerate(zip(SOUNDS, PAUSES, strict=True)):
        time = np.arange(round(sound * RATE)) / RATE
        tone = 0.4 * np.sin(2 * np.pi * (220 + 30 * number) * time)
        parts += [np.zeros(round(pause * RATE)), tone * np.hanning(len(time)) ** 0.2]
    samples = np.concatenate([*parts, np.zeros(RATE)])
    path = tmp_path / "talk.wav"
    soundfile.write(path, samples + 1e-3 * draw.standard_normal(len(samples)), RATE)
    return path


@pytest.fixture
def prepared(tmp_path: Path) -> PreparedFolder:
    folder = PreparedFolder(tmp_path / "data", {"sample_rate": 8000})
    folder.begin()
    return folder


def spoken() -> list[tuple[float, float]]:
    """Where the sounds are."""
    starts = np.cumsum(PAUSES) + np.cumsum((0, *SOUNDS[:-1]))
    return list(zip(starts, starts + np.array(SOUNDS), strict=True))


def by_length(samples: np.ndarray) -> Heard:
    """Hears how long something is."""
    return Heard(f"about {round(len(samples) / LISTENING_RATE, 1)} seconds", 0.9)


def cut(
    folder: PreparedFolder,
    path: Path,
    listener: Callable[[np.ndarray], Heard] = by_length,
    settings: PieceSettings = SETTINGS,
) -> Progress:
    progress = folder.progress("talk", path)
    if not progress.finished:
        cut_recording(
            "talk",
            progress,
            settings,
            folder.wavs,
            listener,
            lambda state: folder.keep("talk", state),
        )
    return progress


def contents(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_cuts_fall_into_silences(recording: Path, prepared: PreparedFolder) -> None:
    pieces = cut(prepared, recording).pieces
    assert len(pieces) > 2
    assert all(piece.seconds <= 4.0 for piece in pieces)
    for moment in [edge for piece in pieces for edge in (piece.start, piece.end)]:
        # A sound's soft edges may be taken for silence.
        assert not any(a + 0.05 < moment < b - 0.05 for a, b in spoken()), moment
    for start, end in spoken():
        middle = (start + end) / 2
        assert sum(piece.start < middle < piece.end for piece in pieces) == 1


def test_pieces_are_the_samples_of_the_recording(
    recording: Path, prepared: PreparedFolder
) -> None:
    whole, _ = load(recording, 8000)
    heard: list[int] = []

    def listen(samples: np.ndarray) -> Heard:
        heard.append(len(samples))
        return by_length(samples)

    pieces = [p for p in cut(prepared, recording, listen).pieces if not p.dropped]
    assert len(heard) == len(pieces)
    for piece, length in zip(pieces, heard, strict=True):
        samples, rate = load(prepared.wavs / f"{piece.identifier}.wav")
        assert rate == 8000
        first = round(piece.start * rate)
        np.testing.assert_allclose(
            samples, whole[first : first + len(samples)], atol=1 / 2**15
        )
        assert len(samples) == pytest.approx(piece.seconds * rate, abs=1)
        assert length == pytest.approx(piece.seconds * LISTENING_RATE, abs=2)


def test_the_result_is_a_corpus_that_can_train(
    recording: Path, prepared: PreparedFolder
) -> None:
    progress = cut(prepared, recording)
    report = prepared.write_list()
    utterances = read_corpus(prepared.folder)
    kept = [piece for piece in progress.pieces if not piece.dropped]
    assert [each.identifier for each in utterances] == [p.identifier for p in kept]
    assert [each.text for each in utterances] == [piece.text for piece in kept]
    assert check_corpus(utterances, None).can_train
    assert (report.pieces, report.recordings) == (len(kept), 1)
    assert report.seconds == pytest.approx(sum(piece.seconds for piece in kept))
    parts = report.seconds + sum(report.dropped_seconds.values())
    assert parts + report.silent_seconds == pytest.approx(report.recorded_seconds)


def test_what_is_no_label_is_dropped_and_counted(
    recording: Path, prepared: PreparedFolder
) -> None:
    answers = iter(
        [
            Heard(" ... ", 0.9),
            Heard("unsure", 0.3),
            Heard("la la", 0.9, "repeats itself"),
            *[Heard("fine", 0.9)] * 9,
        ]
    )
    settings = PieceSettings(0.9, 4.0, 8000, least_confidence=0.5)
    pieces = cut(prepared, recording, lambda _: next(answers), settings).pieces
    dropped = [piece.dropped for piece in pieces]
    assert {"no speech", "low confidence", "repeats itself", "too short", ""} == {
        *dropped
    }
    (short,) = (piece for piece in pieces if piece.dropped == "too short")
    assert short.seconds < 0.9
    report = prepared.write_list()
    assert report.dropped_pieces["low confidence"] == 1
    assert report.pieces == dropped.count("")
    assert len(list(prepared.wavs.iterdir())) == report.pieces


def test_text_fits_into_a_line(recording: Path, prepared: PreparedFolder) -> None:
    cut(prepared, recording, lambda _: Heard(" a|b\n\tc\0\x85d ", 1.0))
    prepared.write_list()
    assert {each.text for each in read_corpus(prepared.folder)} == {"a b c d"}


@pytest.mark.parametrize("after", [0, 1, 3])
def test_a_stopped_run_goes_on_to_the_same_files(
    after: int, recording: Path, prepared: PreparedFolder, tmp_path: Path
) -> None:
    count = 0

    def stop(samples: np.ndarray) -> Heard:
        nonlocal count
        count += 1
        if count > after:
            raise KeyboardInterrupt
        return by_length(samples)

    with pytest.raises(KeyboardInterrupt):
        cut(prepared, recording, stop)
    assert not prepared.progress("talk", recording).finished
    assert prepared.write_list().recordings == 0
    heard: list[int] = []
    cut(prepared, recording, lambda s: heard.append(1) or by_length(s))
    prepared.write_list()
    whole = PreparedFolder(tmp_path / "whole", {"sample_rate": 8000})
    whole.begin()
    pieces = [p for p in cut(whole, recording).pieces if p.dropped != "too short"]
    whole.write_list()
    assert contents(prepared.folder) == contents(whole.folder)
    assert len(heard) == len(pieces) - after


def test_finished_recordings_are_left_alone_and_changed_ones_redone(
    recording: Path, prepared: PreparedFolder
) -> None:
    def refuse(samples: np.ndarray) -> Heard:
        raise AssertionError("nothing is left to hear")

    cut(prepared, recording)
    cut(prepared, recording, refuse)
    samples, rate = load(recording)
    soundfile.write(recording, samples[: 5 * rate], rate)
    assert prepared.progress("talk", recording).pieces == []
    assert list(prepared.wavs.iterdir()) == []
    cut(prepared, recording)
    kept = prepared.write_list().pieces
    assert 0 < kept == len(list(prepared.wavs.iterdir()))


def test_another_recording_of_the_name_is_refused(
    recording: Path, prepared: PreparedFolder, tmp_path: Path
) -> None:
    cut(prepared, recording)
    (tmp_path / "other").mkdir()
    other = recording.rename(tmp_path / "other/talk.wav")
    with pytest.raises(SpeechError, match="pieces of another `talk`"):
        prepared.progress("talk", other)


def test_a_broken_record_is_named(recording: Path, prepared: PreparedFolder) -> None:
    cut(prepared, recording)
    (prepared.folder / "progress/talk.json").write_text('{"pieces": 3}')
    with pytest.raises(SpeechError, match=r"progress/talk\.json"):
        prepared.progress("talk", recording)


def test_folders_of_something_else_are_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SpeechError, match="is a file"):
        PreparedFolder(tmp_path / "file", {})
    with pytest.raises(SpeechError, match="did not make it"):
        PreparedFolder(tmp_path, {}, overwrite=True)


def test_other_settings_are_refused_or_begin_anew(
    recording: Path, prepared: PreparedFolder
) -> None:
    cut(prepared, recording)
    (prepared.folder / "notes.txt").write_text("mine")
    with pytest.raises(SpeechError, match="sample rate 8000, now 9000"):
        PreparedFolder(prepared.folder, {"sample_rate": 9000})
    anew = PreparedFolder(prepared.folder, {"sample_rate": 9000}, overwrite=True)
    assert prepared.progress("talk", recording).finished
    anew.begin()
    assert sorted(p.name for p in prepared.folder.iterdir()) == [
        *("notes.txt", "settings.json")
    ]


def test_names_of_pieces_fit_into_a_list() -> None:
    given = ["a b", "a_b", "A|B", "x/y", "ü"]
    assert piece_names(given) == ["a_b", "a_b-2", "A_B-3", "x/y", "ü"]


def test_progress_survives_its_file(tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_bytes(b"12")
    progress = Progress.of_file(tmp_path / "a.wav")
    progress.pieces.append(Piece("a_0001", 1.0, 2.5, "hi", 0.5))
    again = Progress.from_dict(progress.to_dict())
    assert again == progress
    assert again.pieces[0].seconds == 1.5
