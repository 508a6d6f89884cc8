"""The extrapolated cost of Voxtral, on shapes that are quick."""

from __future__ import annotations

from dataclasses import replace

import pytest
from mlx.utils import tree_flatten

from mlx_speech.bench import voxtral
from mlx_speech.bench.voxtral import SIZES, VoxtralCase, measure, shallow_model
from mlx_speech.errors import SpeechError
from mlx_speech.nn.quantized import quantized_layers
from mlx_speech.voxtral.config import AudioConfig, VoxtralConfig
from mlx_speech.voxtral.model import Voxtral
from mlx_speech.voxtral.realtime_config import RealtimeConfig
from mlx_speech.voxtral.realtime_model import VoxtralRealtime


@pytest.fixture
def small_shapes(monkeypatch: pytest.MonkeyPatch) -> None:
    text = replace(
        SIZES["mini"].text,
        vocab_size=128,
        hidden_size=64,
        intermediate_size=64,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=32,
        num_hidden_layers=10,
    )
    audio = AudioConfig(64, 256, 8, 2, max_source_positions=40)
    monkeypatch.setitem(SIZES, "mini", VoxtralConfig(audio, text))
    stream = SIZES["realtime"]
    assert isinstance(stream, RealtimeConfig)
    tower = replace(
        stream.audio,
        hidden_size=64,
        intermediate_size=64,
        num_attention_heads=2,
        head_dim=32,
        num_hidden_layers=8,
    )
    text = replace(text, sliding_window=100)
    monkeypatch.setitem(SIZES, "realtime", replace(stream, audio=tower, text=text))


@pytest.mark.parametrize(
    ("size", "billions"), [("mini", 4.68), ("small", 24.3), ("realtime", 4.43)]
)
def test_published_sizes_have_their_parameters(size: str, billions: float) -> None:
    """Counted without making the weights: MLX computes only what is read."""
    config = SIZES[size]
    kind = Voxtral if isinstance(config, VoxtralConfig) else VoxtralRealtime
    model = kind(config)  # type: ignore[arg-type]
    count = sum(array.size for _, array in tree_flatten(model.parameters()))
    assert count / 1e9 == pytest.approx(billions, rel=0.005)


@pytest.mark.parametrize("size", ["mini", "realtime"])
def test_whole_models_are_extrapolated_from_two_depths(
    small_shapes: None, size: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    depths: list[int] = []

    def stages(model: object, repeats: int) -> list[float]:
        depths.append(model.config.text.num_hidden_layers)  # type: ignore[attr-defined]
        return [1.0 + 0.5 * depths[-1], 2.0 + 0.1 * depths[-1], 0.1 * depths[-1]]

    monkeypatch.setattr(voxtral, "_stage_seconds", stages)
    timing = measure(VoxtralCase(size, depths=(2, 4)))
    assert depths == [2, 4]
    encode, read = timing.stages[:2]
    assert (encode.layers, encode.whole_s) == (8, pytest.approx(5.0))
    assert (read.layers, read.whole_s) == (10, pytest.approx(3.0))
    total = sum(
        stage.whole_s * count
        for stage, count in zip(timing.stages, timing.counts, strict=True)
    )
    assert timing.to_dict()["extrapolated_s"] == pytest.approx(total)


@pytest.mark.parametrize("size", ["mini", "realtime"])
def test_stages_are_run(small_shapes: None, size: str) -> None:
    for bits in (4, 16):
        timing = measure(VoxtralCase(size, bits), repeats=1)
        assert all(stage.shallow_s > 0 for stage in timing.stages)
        assert timing.to_dict()["extrapolated_x_real_time"] > 0


def test_what_hears_has_eight_bits(small_shapes: None) -> None:
    model = shallow_model(SIZES["mini"], 1, 4)
    bits = {path: each[0] for path, each in quantized_layers(model).items()}
    assert {b for p, b in bits.items() if p.startswith("audio_tower")} == {8}
    assert bits["language_model.lm_head"] == 4


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"size": "huge"}, "no size 'huge'"),
        ({"bits": 5}, "weights of 5 bits"),
        ({"depths": (2, 2)}, "models of 2 and 2 layers tell nothing"),
        ({"depths": (1, 99)}, "models of 1 and 99 layers"),
    ],
)
def test_impossible_cases_are_refused(arguments: dict, message: str) -> None:
    with pytest.raises(SpeechError, match=message):
        VoxtralCase(**arguments)
