"""Scores of voices: known distances, the yardstick, what is nearest, errors."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import mlx.core as mx
import numpy as np
import pytest

from mlx_speech.audio import MelSpec, linear_spectrogram, load, log_mel, save
from mlx_speech.audio.metrics import aligned_mel_l1, mel_cepstral_distortion
from mlx_speech.bench.voice import (
    VoiceScore,
    compare_sentences,
    score_voice,
    speak_plainly,
)
from mlx_speech.corpus import Utterance
from mlx_speech.errors import SpeechError
from mlx_speech.text import EnglishPhonemeVocabulary
from mlx_speech.vits.config import VitsConfig
from mlx_speech.vits.model import SynthesizerTrn
from mlx_speech.vits.voice import Voice

SPEC = MelSpec.preset("demo-16k")
N_MELS = 80
TEXTS = ("A fox.", "Two red hens sat.", "Why not?")


def ripple(cepstrum: int, height: float, frames: int = 4) -> np.ndarray:
    """Flat frames with one ripple: its distortion to flat ones is known exactly."""
    bands = np.cos(np.pi * cepstrum * (np.arange(N_MELS) + 0.5) / N_MELS)
    return np.tile(height * bands, (frames, 1))


def decibels(height: float) -> float:
    """Distortion between two mels that differ by one ripple of ``height``."""
    return 10 / np.log(10) * np.sqrt(2) * height


@pytest.fixture(scope="module")
def voice() -> Voice:
    mx.random.seed(3)
    vocabulary = EnglishPhonemeVocabulary(add_blank=False)
    config = VitsConfig(
        n_vocab=vocabulary.size,
        spec_channels=SPEC.n_bins,
        inter_channels=8,
        hidden_channels=16,
        filter_channels=16,
        n_layers=1,
        posterior_layers=1,
        flow_layers=1,
        n_flows=1,
        use_sdp=False,
        n_speakers=2,
        gin_channels=8,
        decoder="istft",
        istft_channels=16,
        istft_layers=1,
        istft_n_fft=SPEC.n_fft,
        istft_hop_length=SPEC.hop_length,
    )
    model = SynthesizerTrn(config)
    return Voice(model, SPEC, vocabulary, speakers=("ann", "bob"))


@pytest.fixture
def recordings(tmp_path: Path) -> list[Utterance]:
    """Tones that rise or fall, with some noise."""
    generator = np.random.default_rng(0)
    utterances = []
    for index, text in enumerate(TEXTS):
        seconds = np.arange(8000 + 2000 * index) / SPEC.sample_rate
        pitch = 200 + 300 * index + 900 * seconds * (-1) ** index
        samples = 0.3 * np.sin(2 * np.pi * pitch * seconds)
        samples += generator.normal(scale=0.01, size=len(seconds))
        path = tmp_path / f"{index}.flac"
        save(path, samples.astype(np.float32), SPEC.sample_rate)
        utterances.append(Utterance(str(index), path, text, None))
    return utterances


def test_each_figure_is_the_mean_of_known_distances() -> None:
    recorded = [ripple(1, height) for height in (0.0, 1.0, 3.0)]
    # One cepstrum alone differs, so distances are differences of the heights.
    spoken = [ripple(1, height, frames=7) for height in (0.2, 1.4, 2.9)]
    resynthesised = [ripple(1, height) for height in (0.1, 1.1, 3.1)]
    score = compare_sentences(recorded, spoken, resynthesised)
    assert score.sentences == 3
    assert score.mcd == pytest.approx(decibels((0.2 + 0.4 + 0.1) / 3))
    assert score.ceiling_mcd == pytest.approx(decibels(0.1))
    assert score.yardstick_mcd == pytest.approx(decibels((1 + 3 + 2) / 3))
    per_unit = np.abs(ripple(1, 1.0)).mean()
    assert score.mel_l1 == pytest.approx(per_unit * 0.7 / 3)
    assert score.ceiling_mel_l1 == pytest.approx(per_unit * 0.1)
    assert score.yardstick_mel_l1 == pytest.approx(per_unit * 2)
    shares = score.to_dict()
    assert shares["relative_mcd"] == pytest.approx(0.7 / 6)
    assert shares["relative_ceiling_mcd"] == pytest.approx(0.05)
    assert VoiceScore(**{k: v for k, v in shares.items() if "rel" not in k}) == score


def test_a_sentence_counts_as_nearest_only_to_its_own_recording() -> None:
    recorded = [ripple(cepstrum, 1.0) for cepstrum in (1, 2, 3, 4)]
    rightly = [mel + ripple(7, 0.2) for mel in recorded]
    assert compare_sentences(recorded, rightly, recorded).nearest == 4
    swapped = [rightly[1], rightly[0], rightly[2], rightly[3]]
    assert compare_sentences(recorded, swapped, recorded).nearest == 2
    # Whatever mumbles one thing is nearest to one recording at most.
    mumbled = [rightly[2]] * 4
    score = compare_sentences(recorded, mumbled, recorded)
    assert score.nearest == 1
    assert score.mcd > 0.7 * score.yardstick_mcd


def test_a_voice_is_scored_on_what_it_speaks_and_resynthesises(
    voice: Voice, recordings: list[Utterance]
) -> None:
    told: list[tuple[int, int]] = []
    score = score_voice(voice, recordings, "bob", lambda *done: told.append(done))
    assert told == [(1, 3), (2, 3), (3, 3)]

    def mel(samples: np.ndarray) -> np.ndarray:
        return np.array(log_mel(mx.array(samples), SPEC))

    recorded = [mel(load(each.audio_path)[0]) for each in recordings]
    spoken = [mel(speak_plainly(voice, text, "bob")) for text in TEXTS]
    pairs = list(zip(recorded, spoken, strict=True))
    assert score.mcd == pytest.approx(
        np.mean([mel_cepstral_distortion(*pair) for pair in pairs])
    )
    assert score.mel_l1 == pytest.approx(
        np.mean([aligned_mel_l1(*pair) for pair in pairs])
    )
    rebuilt = []
    for each in recordings:
        linear = linear_spectrogram(mx.array(load(each.audio_path)[0])[None], SPEC)
        lengths = mx.array([linear.shape[1]])
        audio, _ = voice.model.reconstruct(linear, lengths, mx.array([1]), 0.0)
        rebuilt.append(mel(np.array(audio[0])))
    assert score.ceiling_mcd == pytest.approx(
        np.mean(
            [mel_cepstral_distortion(*p) for p in zip(recorded, rebuilt, strict=True)]
        )
    )
    others = [(a, b) for a in recorded for b in recorded if a is not b]
    assert score.yardstick_mcd == pytest.approx(
        np.mean([mel_cepstral_distortion(*pair) for pair in others])
    )
    assert score.yardstick_mel_l1 == pytest.approx(
        np.mean([aligned_mel_l1(*pair) for pair in others])
    )
    assert score == score_voice(voice, recordings, "bob")


def test_speakers_score_differently(voice: Voice, recordings: list[Utterance]) -> None:
    first = score_voice(voice, recordings[:2])
    assert first == score_voice(voice, recordings[:2], "ann")
    assert first.mcd != score_voice(voice, recordings[:2], "bob").mcd


def test_a_voice_speaks_at_its_own_pace(voice: Voice) -> None:
    slow = replace(voice, inference={"length_scale": 3.0})
    usual, slower = (len(speak_plainly(v, TEXTS[1])) for v in (voice, slow))
    assert slower > 1.5 * usual
    np.testing.assert_array_equal(
        speak_plainly(voice, TEXTS[1]), speak_plainly(voice, TEXTS[1])
    )


def test_recordings_of_another_rate_are_resampled(
    voice: Voice, recordings: list[Utterance], tmp_path: Path
) -> None:
    expected = score_voice(voice, recordings[:2])
    for index, each in enumerate(recordings[:2]):
        samples, _ = load(each.audio_path, 48_000)
        path = tmp_path / f"fast-{index}.flac"
        save(path, samples, 48_000)
        recordings[index] = replace(each, audio_path=path)
    score = score_voice(voice, recordings[:2])
    assert score.mcd == pytest.approx(expected.mcd, rel=0.05)


def test_what_cannot_be_scored_is_explained(
    voice: Voice, recordings: list[Utterance]
) -> None:
    with pytest.raises(SpeechError, match="1 recording is too few"):
        score_voice(voice, recordings[:1])
    with pytest.raises(SpeechError, match="unknown speaker `eve`"):
        score_voice(voice, recordings, "eve")
    absent = replace(recordings[0], audio_path=recordings[0].audio_path.parent / "no")
    with pytest.raises(SpeechError, match="no"):
        score_voice(voice, [absent, recordings[1]])
