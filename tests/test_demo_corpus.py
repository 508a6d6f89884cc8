"""The demo's sentences, voices and clips: sound, and apart from each other."""

from __future__ import annotations

import itertools
import re
import shutil
import subprocess
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from mlx_speech.errors import SpeechError
from mlx_speech.text.english import phonemize
from mlx_speech.text.symbols import ARPABET_SYMBOLS, BLANK
from mlx_speech.weights import espeak, make_base_corpus

CORPUS = espeak.HERE / "demo_corpus"
LISTS = ("base", "demo", "held_out")


def words_of(sentence: str) -> list[str]:
    return re.findall(r"[a-z']+", sentence.lower())


@pytest.fixture(scope="module")
def clips() -> dict[str, tuple[np.ndarray, int]]:
    return {
        path.stem: soundfile.read(path, dtype="float32")
        for path in sorted((CORPUS / "wavs").iterdir())
    }


@pytest.mark.parametrize(("one", "other"), list(itertools.combinations(LISTS, 2)))
def test_no_sentence_stands_in_two_lists(one: str, other: str) -> None:
    first, second = (
        {" ".join(words_of(sentence)) for sentence in espeak.read_sentences(name)}
        for name in (one, other)
    )
    assert not first & second


@pytest.mark.parametrize(
    ("name", "least"), [("base", 400), ("demo", 80), ("held_out", 24)]
)
def test_lists_are_long_and_without_repeats(name: str, least: int) -> None:
    sentences = espeak.read_sentences(name)
    assert len(sentences) >= least
    assert len({" ".join(words_of(sentence)) for sentence in sentences}) == len(
        sentences
    )


def test_held_out_sentences_differ_in_most_words() -> None:
    for one, other in itertools.combinations(espeak.read_sentences("held_out"), 2):
        first, second = set(words_of(one)), set(words_of(other))
        assert len(first & second) <= 0.5 * min(len(first), len(second)), (one, other)


def test_base_and_demo_use_different_voices() -> None:
    base, demo = espeak.read_voices("base"), espeak.read_voices("demo")
    assert not set(base) & set(demo)
    # The variant after the plus sign is what gives a voice its formants.
    variants = {
        group: {a[a.index("-v") + 1].split("+")[1] for a in voices.values()}
        for group, voices in (("base", base), ("demo", demo))
    }
    assert len(variants["base"]) == len(base) >= 6
    assert not variants["base"] & variants["demo"]


@pytest.mark.parametrize("name", LISTS)
def test_no_word_of_the_sentences_needs_the_letter_rules(
    name: str, read_by_rule: Callable[[str], list[str]]
) -> None:
    assert read_by_rule("\n".join(espeak.read_sentences(name))) == []


def test_base_sentences_use_every_symbol() -> None:
    used: Counter[str] = Counter()
    for sentence in espeak.read_sentences("base"):
        used.update(phonemize(sentence))
    rare = {s: used[s] for s in ARPABET_SYMBOLS if s != BLANK and used[s] < 5}
    assert rare == {}


def test_every_base_voice_hears_nearly_every_symbol() -> None:
    sentences = espeak.read_sentences("base")
    for voice in espeak.read_voices("base"):
        chosen = make_base_corpus.choose_sentences(voice, seed=0)
        assert chosen == make_base_corpus.choose_sentences(voice, seed=0)
        assert len(set(chosen)) == make_base_corpus.SENTENCES_PER_VOICE
        heard = {symbol for i in chosen for symbol in phonemize(sentences[i])}
        assert len(set(ARPABET_SYMBOLS) - {BLANK} - heard) <= 3, voice


def test_metadata_lists_the_demo_sentences_and_their_clips(
    clips: dict[str, tuple[np.ndarray, int]],
) -> None:
    lines = (CORPUS / "metadata.csv").read_text(encoding="utf-8").splitlines()
    rows = [line.split("|") for line in lines]
    assert [text for _, text in rows] == espeak.read_sentences("demo")
    assert [identifier for identifier, _ in rows] == list(clips)


def test_clips_are_short_even_and_unclipped(
    clips: dict[str, tuple[np.ndarray, int]],
) -> None:
    for name, (samples, rate) in clips.items():
        assert rate == 16_000 and samples.ndim == 1, name
        assert 1.0 < len(samples) / rate < 4.0, name
        assert 0.6 < np.abs(samples).max() < 0.8, name
        margin = round(0.04 * rate)
        for end in (samples[:margin], samples[-margin:]):
            assert np.abs(end).max() < 0.02, name


def test_the_corpus_stays_under_three_megabytes() -> None:
    assert sum(path.stat().st_size for path in CORPUS.rglob("*")) < 3_000_000


@pytest.mark.skipif(not shutil.which("espeak-ng"), reason="needs espeak-ng")
def test_the_script_repeats_a_bundled_clip(
    clips: dict[str, tuple[np.ndarray, int]],
) -> None:
    version = subprocess.run(
        ["espeak-ng", "--version"], capture_output=True, text=True, check=True
    ).stdout
    if " 1.51 " not in version:
        pytest.skip(f"the corpus was made with espeak-ng 1.51, here is {version}")
    arguments = espeak.read_voices("demo")["andrea"]
    sentence = espeak.read_sentences("demo")[4]
    spoken = espeak.speak(espeak.find_espeak(), arguments, sentence)
    bundled, _ = clips["demo-005"]
    assert len(spoken) == len(bundled)
    # The bundled clip went through Ogg Vorbis: 20 dB or more above its noise.
    noise = np.mean((spoken - bundled) ** 2)
    assert np.mean(spoken**2) > 100 * noise


def test_a_missing_program_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SpeechError, match="espeak-ng is not installed"):
        espeak.find_espeak()


def test_a_corpus_script_prints_minutes_or_one_error_line(
    capsys: pytest.CaptureFixture[str],
) -> None:
    def fail() -> float:
        raise SpeechError("the program espeak-ng is not installed", "install it")

    assert espeak.report(lambda: 90.0) == 0
    assert espeak.report(fail) == 1
    captured = capsys.readouterr()
    assert captured.out == "1.5 minutes\n"
    assert captured.err.startswith("error: the program espeak-ng is not installed")
