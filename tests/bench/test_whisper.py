"""Fixed work of Whisper: what is measured, side by side with others, and refused."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from mlx_speech.bench import whisper, whisper_sides
from mlx_speech.bench.whisper import WhisperCase, measure
from mlx_speech.bench.whisper_sides import compare, peers_of
from mlx_speech.errors import SpeechError

# A peer that decodes what it is told to: `COUNT` tokens for each window of 30 s.
PEER = """
def transcribe(samples, path_or_hf_repo, fp16, verbose, sample_len, **options):
    print("peers print")
    assert not fp16 and options["temperature"] == 0.0
    windows = -(-len(samples) // 480000)
    return {"segments": [{"tokens": [0] * (sample_len + EXTRA)}] * windows}
"""


@pytest.fixture(autouse=True)
def small_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(whisper.SIZES, "tiny", (80, 16, 2, 1, 1, 51865))


@pytest.fixture
def peer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "mlx_whisper.py"
    path.write_text("EXTRA = 0\n" + PEER)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    return path


def test_every_stage_is_measured(tmp_path: Path) -> None:
    told = []
    case = WhisperCase("tiny", minutes=0.6, tokens=3)
    timing = measure(case, tmp_path / "m", 1, lambda *at: told.append(at))
    assert told == [(done + 1, 7) for done in range(7)]
    assert (timing.windows, timing.tokens, timing.audio_s) == (2, 6, 36)
    assert (timing.dtype, timing.clock) == ("float32", "processor")
    row = timing.to_dict()
    assert row["exact_x_real_time"] == pytest.approx(36 / timing.exact_s)
    for name in ("load_s", "mel_s", "encoder_s", "tokens_per_s", "batched_s"):
        assert row[name] > 0


def test_sides_take_turns_on_the_same_work(peer: Path) -> None:
    assert "mlx-whisper" in peers_of()
    case = WhisperCase("tiny", minutes=0.6, tokens=3)
    told = []
    sides = compare(case, ["mlx-whisper"], 2, on_progress=lambda *at: told.append(at))
    assert [side.side for side in sides] == ["exact", "batched", "mlx-whisper"]
    assert told[-1] == (6, 6)
    exact, batched, other = sides
    assert exact.ratios["exact"] == batched.ratios["batched"] == 1
    assert other.ratios["exact"] > 1, "the peer does nothing"
    assert [side.tokens for side in sides] == [6, 6, 6]
    assert exact.same_tokens == batched.same_tokens == 6
    assert exact.peak_bytes > 20e6


@pytest.mark.parametrize(
    ("code", "why"),
    [
        ("EXTRA = 1" + PEER, "mlx-whisper decoded 4 tokens instead of 3"),
        ("raise OSError('no such luck')", "mlx-whisper failed: OSError: no such luck"),
    ],
    ids=["other work", "failure"],
)
def test_a_peer_that_does_not_do_the_work_is_refused(
    peer: Path, monkeypatch: pytest.MonkeyPatch, code: str, why: str
) -> None:
    monkeypatch.setattr(whisper_sides, "OURS", ())
    peer.write_text(code)
    with pytest.raises(SpeechError, match=why):
        compare(WhisperCase("tiny", 0.1, 3), ["mlx-whisper"], 1)


def test_a_python_that_is_none_is_refused() -> None:
    with pytest.raises(SpeechError, match="no/python"):
        peers_of("no/python")
    assert set(peers_of(sys.executable)) <= {"mlx-whisper", "openai-whisper"}


def test_recording_and_weights_are_the_same_every_time() -> None:
    case = WhisperCase("tiny", minutes=0.01)
    np.testing.assert_array_equal(case.samples(), case.samples())
    first, second = (case.model().decoder.embed_tokens.weight for _ in range(2))
    np.testing.assert_array_equal(np.array(first), np.array(second))
    assert case.options()["suppress_tokens"][:2] == [-1, 50257]


@pytest.mark.parametrize(
    "settings",
    [{"size": "huge"}, {"size": "tiny", "minutes": 0}, {"size": "tiny", "tokens": 300}],
    ids=str,
)
def test_cases_that_cannot_be_measured(settings: dict[str, object]) -> None:
    with pytest.raises(SpeechError):
        WhisperCase(**settings)  # type: ignore[arg-type]
