"""The report: what it measures, what it calls a problem and what only a note."""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from mlx_speech.corpus import Limits, Utterance, check_corpus
from mlx_speech.corpus import measure as measuring
from mlx_speech.corpus.measure import UnreadableError, measure
from mlx_speech.errors import SpeechError

Record = Callable[..., Path]
TEXT = "about ten chars"


class Letters:
    """A vocabulary of lower-case letters, spaces and full stops."""

    def unknown_symbols(self, text: str) -> list[str]:
        return [c for c in text if not (c.islower() or c in " .")]

    def encode(self, text: str) -> list[int]:
        if not text.strip(" ."):
            raise SpeechError(f"nothing in {text!r} can be spoken")
        return [ord(c) for c in text]


def utterances(*paths: Path, text: str = TEXT) -> list[Utterance]:
    return [Utterance(path.stem, path, text) for path in paths]


@pytest.fixture
def two(tmp_path: Path, record: Record) -> list[Utterance]:
    return utterances(record(tmp_path / "one.wav"), record(tmp_path / "two.wav"))


def test_hours_rates_and_channels_are_counted(tmp_path: Path, record: Record) -> None:
    report = check_corpus(
        [
            Utterance("a", record(tmp_path / "a.wav", 1.0, 16000), TEXT, "ann"),
            Utterance("b", record(tmp_path / "b.flac", 2.0, 16000), TEXT, "ann"),
            Utterance("c", record(tmp_path / "c.wav", 3.0, 48000, 2), TEXT, "bob"),
        ],
        limits=Limits(sample_rate=16000),
    )
    assert report.can_train
    assert report.hours == pytest.approx(6 / 3600)
    assert report.speaker_hours == pytest.approx({"ann": 3 / 3600, "bob": 3 / 3600})
    assert report.sample_rates == {16000: 2, 48000: 1}
    assert report.channels == {1: 2, 2: 1}
    assert report.seconds == pytest.approx({"min": 1.0, "median": 2.0, "max": 3.0})
    paces = np.array([1.0, 2.0, 3.0]) / len(TEXT)
    assert list(report.seconds_per_character.values()) == pytest.approx(paces)


def test_8_khz_and_96_khz_stereo_are_accepted_with_a_note(
    tmp_path: Path, record: Record
) -> None:
    report = check_corpus(
        utterances(
            record(tmp_path / "low.wav", rate=8000),
            record(tmp_path / "high.wav", rate=96000, channels=2),
        )
    )
    assert report.can_train
    notes = "\n".join(report.notes)
    assert (
        "1 recording(s) at 8000 Hz are resampled to 22050 Hz, nothing above 4" in notes
    )
    assert "1 recording(s) at 96000 Hz are resampled to 22050 Hz\n" in notes
    assert "2 channels are mixed to one" in notes


def test_silence_is_measured_against_the_loudest_part(
    tmp_path: Path, record: Record
) -> None:
    path = record(tmp_path / "a.wav", 1.0, before=0.25, after=0.75, level=0.01)
    facts = measure(path)
    assert facts.leading == pytest.approx(0.25, abs=0.011)
    assert facts.trailing == pytest.approx(0.75, abs=0.011)
    assert facts.silence == pytest.approx(1.0, abs=0.021)
    report = check_corpus(utterances(path, path))
    assert report.silence["overall"] == pytest.approx(0.5, abs=0.011)
    assert report.edge_silence == ["a", "a"]
    assert report.can_train


def naive_clipped(samples: np.ndarray) -> int:
    total = run = 0
    for sample in [*np.abs(samples).tolist(), 0.0]:
        if sample >= measuring.CLIPPED_LEVEL:
            run += 1
        else:
            total += run if run >= measuring.CLIPPED_RUN else 0
            run = 0
    return total


@pytest.mark.parametrize("block", [1, 7, 64, 1000])
def test_measuring_does_not_depend_on_the_blocks(
    tmp_path: Path, block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    noise = np.random.default_rng(0).normal(0, 0.6, 900)
    noise[300:340] = 1.0
    noise[640:] *= 1e-3
    samples = np.clip(noise, -1, 1).astype(np.float32)
    path = tmp_path / "a.wav"
    soundfile.write(path, samples, 8000, "FLOAT")
    whole = measure(path)
    monkeypatch.setattr(measuring, "BLOCK_FRAMES", block)
    assert measure(path) == whole
    assert whole.clipped == naive_clipped(samples) >= 40
    assert whole.peak == 1.0


def test_clipping_is_a_note_and_a_full_scale_peak_is_none(
    tmp_path: Path, record: Record
) -> None:
    loud = record(tmp_path / "loud.wav", level=3.0)
    peak = tmp_path / "peak.wav"
    samples = 0.5 * np.sin(np.arange(16000) / 11)
    samples[8000] = 1.0
    soundfile.write(peak, samples, 16000)
    report = check_corpus(utterances(loud, peak))
    assert report.clipped == ["loud"]
    assert any("1 clipped recording(s): loud" in note for note in report.notes)
    assert report.can_train


def damaged_files(folder: Path, record: Record) -> dict[str, Path]:
    made = {name: folder / f"{name}.wav" for name in ("junk", "empty", "void", "nan")}
    made["junk"].write_bytes(b"RIFF\x00\x00\x00\x00WAVEjunk and nothing else")
    made["empty"].touch()
    soundfile.write(made["void"], np.zeros(0), 16000)
    samples = np.full(16000, 0.1, np.float32)
    samples[8000] = np.nan
    soundfile.write(made["nan"], samples, 16000, "FLOAT")
    made["zeros"] = record(folder / "zeros.wav", level=0.0)
    made["gone"] = folder / "gone.wav"
    made["cut"] = record(folder / "cut.flac", seconds=4.0)
    made["cut"].write_bytes(made["cut"].read_bytes()[:9000])
    return made


def test_unusable_recordings_are_named_with_the_reason(
    tmp_path: Path, record: Record
) -> None:
    made = damaged_files(tmp_path, record)
    report = check_corpus(utterances(*made.values()))
    assert not report.can_train
    assert set(report.unreadable) == set(made)
    assert report.unreadable["void"] == "holds no samples"
    assert "0 bytes" in report.unreadable["empty"]
    assert report.unreadable["nan"] == "has a sample that is not a number at 0.50 s"
    assert report.unreadable["zeros"] == "is silent throughout"
    assert "no such audio file" in report.unreadable["gone"]
    for name in made:
        assert any(name in problem for problem in report.problems)
    assert report.hours == 0
    assert report.seconds == {}


def test_it_is_said_how_much_of_a_recording_is_there(
    tmp_path: Path, record: Record
) -> None:
    path = record(tmp_path / "a.wav", 2.0)
    path.write_bytes(path.read_bytes()[: 44 + 2 * 16000])
    report = check_corpus(utterances(path))
    assert report.unreadable == {"a": "breaks off after 1.0 of 2.0 s"}


def test_a_flac_from_a_pipe_is_measured_to_its_end(
    tmp_path: Path, record: Record
) -> None:
    path = record(tmp_path / "a.flac", 2.0)
    content = bytearray(path.read_bytes())
    content[21] &= 0xF0  # the count of samples, of which it holds the upper bits
    content[22:26] = bytes(4)
    path.write_bytes(content)
    assert measure(path).seconds == 2.0


@pytest.mark.parametrize("suffix", ["wav", "aiff", "flac", "ogg"])
def test_a_copy_that_was_cut_short_is_unreadable(
    tmp_path: Path, record: Record, suffix: str
) -> None:
    path = record(tmp_path / f"a.{suffix}", 2.0)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) * 2 // 3])
    report = check_corpus(utterances(path))
    assert list(report.unreadable) == ["a"]


def test_a_wav_from_a_pipe_claims_a_length_that_is_not_believed(
    tmp_path: Path, record: Record
) -> None:
    path = record(tmp_path / "a.wav", 2.0)
    data = bytearray(path.read_bytes())
    for chunk in (b"RIFF", b"data"):
        place = data.index(chunk) + 4
        data[place : place + 4] = b"\xff\xff\xff\xff"
    path.write_bytes(data)
    assert measure(path).seconds == 2.0


@pytest.mark.parametrize("suffix", ["mp3", "ogg", "flac", "aiff"])
def test_other_formats_are_measured(
    tmp_path: Path, record: Record, suffix: str
) -> None:
    facts = measure(record(tmp_path / f"a.{suffix}", 2.0, before=0.5))
    assert facts.seconds == pytest.approx(2.5, abs=0.1)
    assert facts.leading == pytest.approx(0.5, abs=0.1)
    assert facts.peak == pytest.approx(0.5, abs=0.05)


def test_a_folder_named_like_a_recording_is_unreadable(tmp_path: Path) -> None:
    (tmp_path / "a.wav").mkdir()
    with pytest.raises(UnreadableError, match="is a folder"):
        measure(tmp_path / "a.wav")


def test_unknown_symbols_are_counted_by_transcript(two: list[Utterance]) -> None:
    texts = ["naïve 1 1 words", "one 1 more word"]
    given = [
        Utterance(each.identifier, each.audio_path, text)
        for each, text in zip(two, texts, strict=True)
    ]
    report = check_corpus(given, Letters())
    assert report.unknown_symbols == {"1": 2}
    assert "'1' in 2" in report.problems[0]
    assert check_corpus(given).can_train


def test_text_of_known_symbols_that_says_nothing_is_a_problem(
    two: list[Utterance],
) -> None:
    given = [two[0], Utterance("dots", two[1].audio_path, "...")]
    report = check_corpus(given, Letters())
    assert list(report.unspeakable) == ["dots"]
    assert not report.can_train


def test_empty_transcripts_are_a_problem(two: list[Utterance]) -> None:
    given = [*two, Utterance("mute", two[0].audio_path, "")]
    report = check_corpus(given, Letters())
    assert report.empty_transcripts == ["mute"]
    assert report.problems == ["1 empty transcript(s): mute"]


def test_one_recording_is_too_few(two: list[Utterance]) -> None:
    report = check_corpus(two[:1])
    assert report.problems == ["1 usable recording(s) of 1, at least 2 are needed"]
    assert not check_corpus([]).can_train


def test_lengths_and_paces_out_of_the_ordinary(tmp_path: Path, record: Record) -> None:
    given = utterances(*(record(tmp_path / f"{i}.wav") for i in range(5)))
    click = record(tmp_path / "click.wav", 0.05)
    short = record(tmp_path / "short.wav", 0.4)
    given += [
        Utterance("click", click, "hm"),
        Utterance("short", short, TEXT[:6]),
        Utterance("long", record(tmp_path / "long.wav", 21.0, 8000), TEXT * 20),
        Utterance("slow", record(tmp_path / "slow.wav", 4.0), TEXT),
        Utterance("wrong", given[0].audio_path, TEXT * 3 + "."),
        Utterance("book", given[0].audio_path, TEXT * 5),
    ]
    report = check_corpus(given)
    assert report.too_short == ["click"]
    assert report.unusual_length == ["click", "short", "long"]
    assert report.unusual_pace == ["slow", "wrong", "book"]
    assert report.too_fast == ["book"]
    assert report.too_long == []
    assert report.can_train
    strict = check_corpus(given, limits=Limits(longest_seconds=20))
    assert strict.problems == ["1 recording(s) over 20 s: long"]


def test_names_in_a_problem_are_ten_and_a_count(two: list[Utterance]) -> None:
    mute = [Utterance(f"m{i:02}", two[0].audio_path, "") for i in range(14)]
    report = check_corpus([*two, *mute])
    assert report.problems[0].startswith("14 empty transcript(s): m00, m01")
    assert report.problems[0].endswith("m09 and 4 more")
    assert len(report.empty_transcripts) == 14


def test_the_report_is_json_and_progress_is_told(two: list[Utterance]) -> None:
    steps: list[tuple[int, int]] = []
    report = check_corpus(two, on_progress=lambda *step: steps.append(step))
    assert steps == [(1, 2), (2, 2)]
    loaded = json.loads(json.dumps(report.to_dict()))
    assert loaded["can_train"] is True
    assert loaded["sample_rates"] == {"16000": 2}


def test_a_long_recording_is_read_in_little_memory(tmp_path: Path) -> None:
    path = tmp_path / "long.flac"
    minute = (0.3 * np.sin(np.arange(60 * 8000) / 9)).astype(np.float32)
    with soundfile.SoundFile(path, "w", 8000, 1) as file:
        for _ in range(20):
            file.write(minute)
    measure(path)
    tracemalloc.start()
    facts = measure(path)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert facts.seconds == 1200
    assert most < 4 << 20  # the samples alone would take 38 MiB
