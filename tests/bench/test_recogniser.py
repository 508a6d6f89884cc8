"""The recogniser hears speech, and hears nothing in speech that was shuffled."""

from __future__ import annotations

import re
import shutil

import numpy as np
import pytest

from mlx_speech.audio import resample
from mlx_speech.bench.recogniser import SentenceRecogniser, shuffled, spoken_words
from mlx_speech.errors import SpeechError
from mlx_speech.weights import espeak

RATE = espeak.SAMPLE_RATE
SENTENCES = (
    "Doctor Brown bought 21 lamps!",
    "My cousin's parrot never sings.",
    "Where did the zorblat hide?",
    "Rain fell on the quiet harbour.",
)


@pytest.fixture(scope="module")
def recogniser() -> SentenceRecogniser:
    pytest.importorskip("pocketsphinx")
    return SentenceRecogniser(SENTENCES)


@pytest.fixture(scope="module")
def spoken() -> list[np.ndarray]:
    if not shutil.which("espeak-ng"):
        pytest.skip("needs espeak-ng")
    program = espeak.find_espeak()
    arguments = espeak.read_voices("base")["us-low"]
    return [espeak.speak(program, arguments, sentence) for sentence in SENTENCES]


def test_each_sentence_is_heard(
    recogniser: SentenceRecogniser, spoken: list[np.ndarray]
) -> None:
    """Among them one with a number, and one with a word of no dictionary."""
    heard = [recogniser.recognise(samples, RATE) for samples in spoken]
    assert heard == [0, 1, 2, 3]
    assert recogniser.share_recognised(spoken, RATE) == 1.0
    assert recogniser.share_recognised(spoken[::-1], RATE) == 0.0


def test_level_and_rate_do_not_matter(
    recogniser: SentenceRecogniser, spoken: list[np.ndarray]
) -> None:
    assert recogniser.recognise(spoken[1] * 0.01, RATE) == 1
    assert recogniser.recognise(resample(spoken[1], RATE, 44_100), 44_100) == 1


def test_shuffled_speech_is_not_understood(
    recogniser: SentenceRecogniser, spoken: list[np.ndarray]
) -> None:
    mixed = [shuffled(samples, RATE, seed=i) for i, samples in enumerate(spoken)]
    assert recogniser.share_recognised(mixed, RATE) <= 0.5


def test_noise_is_no_sentence(recogniser: SentenceRecogniser) -> None:
    noise = np.random.default_rng(0).normal(scale=0.1, size=2 * RATE)
    assert recogniser.recognise(noise.astype(np.float32), RATE) is None


def test_shuffling_keeps_the_samples_and_moves_short_pieces() -> None:
    samples = np.arange(16_000, dtype=np.float32)
    mixed = shuffled(samples, RATE, seed=1)
    np.testing.assert_array_equal(np.sort(mixed), samples)
    cuts = np.flatnonzero(np.diff(mixed) != 1) + 1
    lengths = np.diff([0, *cuts, len(mixed)])
    # Two neighbours may stay together by chance, and the last piece may be a stump.
    assert np.median(lengths) <= 0.1 * RATE
    assert (lengths >= 0.05 * RATE).sum() >= len(lengths) - 1
    assert len(lengths) >= 8
    np.testing.assert_array_equal(mixed, shuffled(samples, RATE, seed=1))
    assert (mixed != shuffled(samples, RATE, seed=2)).any()
    short = samples[:500]
    np.testing.assert_array_equal(shuffled(short, RATE), short)


def test_the_held_out_sentences_can_be_told_apart() -> None:
    pytest.importorskip("pocketsphinx")
    sentences = espeak.read_sentences("held_out")
    assert len(SentenceRecogniser(sentences).sentences) == len(sentences) >= 20


def test_words_are_written_out() -> None:
    assert spoken_words("Dr. O'Neil, 3!") == ("doctor", "o'neil", "three")


@pytest.mark.parametrize(
    "sentences", [(), ("One.",), ("Yes, sir.", "yes sir"), ("Yes.", "!")]
)
def test_sentences_must_be_a_choice(sentences: tuple[str, ...]) -> None:
    pytest.importorskip("pocketsphinx")
    with pytest.raises(SpeechError, match="no choice"):
        SentenceRecogniser(sentences)


@pytest.mark.parametrize(
    "samples", [np.zeros(0), np.zeros(100), np.full(100, np.nan), np.full(9, np.inf)]
)
def test_what_is_no_sound_is_refused(
    recogniser: SentenceRecogniser, samples: np.ndarray
) -> None:
    with pytest.raises(SpeechError, match="no sound"):
        recogniser.recognise(samples, RATE)


def test_a_recording_of_each_sentence_is_wanted(recogniser: SentenceRecogniser) -> None:
    with pytest.raises(SpeechError, match=re.escape("1 recordings for 4 sentences")):
        recogniser.share_recognised([np.ones(9)], RATE)


def test_an_absent_pocketsphinx_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "pocketsphinx", None)
    with pytest.raises(SpeechError, match="needs pocketsphinx"):
        SentenceRecogniser(SENTENCES)
