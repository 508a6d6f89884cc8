"""Models that listen: from Python, within limits, of families with fewer options."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

import mlx_speech
from mlx_speech import backend, models
from mlx_speech.audio import load
from mlx_speech.cli.grouped_options import size_in_bytes
from mlx_speech.cli.listeners import fitting
from mlx_speech.errors import SpeechError
from mlx_speech.hub.download import Download

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def talk(tmp_path: Path, speak_tones: Callable[..., Path]) -> Path:
    return speak_tones(tmp_path / "talk.wav")


def test_paths_arrays_and_pairs_are_the_same_to_python(
    whisper_folder: Path, talk: Path
) -> None:
    model = mlx_speech.load_model(whisper_folder)
    options = {"temperature": 0.0, "language": "en"}
    expected = mlx_speech.transcribe(talk, model, **options)
    assert expected.text.strip()
    assert expected.duration == pytest.approx(3.2)
    samples, rate = load(talk)
    assert mlx_speech.transcribe(samples, model, **options) == expected
    assert mlx_speech.transcribe((samples, rate), model, **options) == expected
    assert mlx_speech.transcribe(str(talk), whisper_folder, **options) == expected
    with open(talk, "rb") as file:
        assert mlx_speech.transcribe(file, str(whisper_folder), **options) == expected
    heard: list[Any] = []
    mlx_speech.transcribe(
        talk, model, **options, listener=lambda new, _: heard.extend(new)
    )
    assert heard == list(expected.segments)


def test_an_unknown_option_is_an_error_of_python(
    whisper_folder: Path, talk: Path
) -> None:
    with pytest.raises(TypeError, match="beams"):
        mlx_speech.transcribe(talk, whisper_folder, beams=3)
    with pytest.raises(SpeechError, match="not on this machine"):
        models.find_listener("turbo", offline=True, cache=talk.parent / "cache")


def test_options_that_a_family_does_not_know(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        models, "listening_options", lambda model: {"language", "temperature"}
    )
    defaults = {"beam_size": None, "exact": False, "temperature": (0.0, 0.2)}
    given = {**defaults, "language": "de"}
    expected = {"language": "de", "temperature": 0.0}
    assert fitting(object(), given, defaults) == expected
    with pytest.raises(SpeechError, match="--beam-size means nothing to object"):
        fitting(object(), {**given, "beam_size": 3}, defaults)
    with pytest.raises(SpeechError, match="--vad-method means nothing"):
        fitting(object(), {**given, "find_speech": len}, defaults)
    with pytest.raises(SpeechError, match="--no-vad means nothing"):
        fitting(
            object(), {**given, "find_speech": None}, {**defaults, "find_speech": 1}
        )


def test_whisper_knows_every_option(whisper_folder: Path) -> None:
    from mlx_speech.cli.listening_flags import DecodingFlags
    from mlx_speech.cli.subtitle_flags import SubtitleFlags

    model = mlx_speech.load_model(whisper_folder)
    options = DecodingFlags(beam_size=2, patience=2.0, vad=False).options()
    options |= SubtitleFlags(append_punctuations=".").options()
    assert fitting(model, options, {}) == options


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("6GB", 6 * 10**9),
        ("1.5 gb", 15 * 10**8),
        ("800MB", 8 * 10**8),
        ("2GiB", 2 * 10**9),
        ("4", 4 * 10**9),
        ("64k", 64_000),
    ],
)
def test_sizes(text: str, size: int) -> None:
    assert size_in_bytes(text) == size


@pytest.mark.parametrize("text", ["", "much", "-1GB", "0", "1XB", "1.2.3GB", "9" * 400])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        size_in_bytes(text)


def test_a_download_says_its_size(
    command: Run, whisper_folder: Path, talk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def find(name: str, *, on_download: Callable[[Download], None], **_: Any) -> Path:
        for done in (0, 10**9, 1_620_000_000):
            on_download(Download("someone/model", done, 1_620_000_000))
        return whisper_folder

    monkeypatch.setattr(models, "find_listener", find)
    once = ("--temperature-increment-on-fallback", "None")
    code, out, err = command("transcribe", talk, *once)
    assert (code, err) == (0, "downloading someone/model, 1620 MB\n")
    assert command("transcribe", talk, *once, "-q") == (0, out, "")


def test_limits_are_set_before_the_model_is_loaded(
    command: Run, whisper_folder: Path, talk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    order: list[Any] = []
    load_listener = models.load_listener
    monkeypatch.setattr(backend, "limit_memory", lambda size: order.append(size))
    monkeypatch.setattr(
        backend, "use_threads", lambda count: order.append(count) or False
    )

    def load_last(*given: Any, **options: Any) -> Any:
        order.append("load")
        return load_listener(*given, **options)

    monkeypatch.setattr(models, "load_listener", load_last)
    once = ("--temperature-increment-on-fallback", "None")
    given = ("transcribe", talk, "-m", whisper_folder, *once)
    code, out, err = command(*given, "--memory-limit", "3GB", "--threads", 2)
    assert code == 0
    assert order == [3 * 10**9, 2, "load"]
    assert "--threads has no effect" in err
    assert command(*given) == (0, out, "")
    code, _, err = command(*given, "--memory-limit", "much")
    assert code == 2
    assert "much" in err


@pytest.mark.skipif(not backend.prepare().library, reason="OpenBLAS is not in use")
def test_threads_are_those_of_openblas() -> None:
    import ctypes

    library = ctypes.CDLL(backend.prepare().library)
    before = library.openblas_get_num_threads()
    try:
        assert backend.use_threads(2)
        assert library.openblas_get_num_threads() == 2
    finally:
        backend.use_threads(before)


def test_threads_have_no_effect_without_openblas(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(backend, "_state", backend.BlasState("", "none"))
    assert not backend.use_threads(2)


def test_samples_alone_are_at_16_khz(whisper_folder: Path) -> None:
    silence = np.zeros(8000, np.float32)
    assert mlx_speech.transcribe(silence, whisper_folder).duration == 0.5


def test_blocks_of_a_file_are_what_it_is_as_a_whole(tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    stereo = 0.1 * draw.standard_normal((25 * 22050, 2))
    soundfile.write(tmp_path / "a.flac", stereo, 22050)
    whole, _ = load(tmp_path / "a.flac", 16000)
    blocks = models.listening_samples(tmp_path / "a.flac")
    assert blocks.dtype == np.float32
    np.testing.assert_allclose(blocks, whole, atol=1e-6)
