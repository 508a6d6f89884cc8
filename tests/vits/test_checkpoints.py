"""Voice folders: our layout, and the VITS release's; what is wrong with others."""

from __future__ import annotations

import importlib.util
import json
import sys
from dataclasses import fields, replace
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import mlx.core as mx
import numpy as np
import pytest

from mlx_speech.audio import MelSpec
from mlx_speech.errors import SpeechError
from mlx_speech.hub.save import flatten_parameters
from mlx_speech.models import load_model
from mlx_speech.nn.norm import WEIGHT_G_V
from mlx_speech.text.characters import CharacterVocabulary
from mlx_speech.text.phonemes import EnglishPhonemeVocabulary
from mlx_speech.vits import jaywalnut_layout
from mlx_speech.vits.checkpoints import Voice, load_voice, save_voice
from mlx_speech.vits.config import DiscriminatorConfig, VitsConfig
from mlx_speech.vits.discriminator import Discriminators
from mlx_speech.vits.hf_layout import save_hf
from mlx_speech.vits.model import SynthesizerTrn
from mlx_speech.vits.torch_layout import from_torch, to_torch

TINY = VitsConfig(
    n_vocab=178,
    spec_channels=9,
    inter_channels=8,
    hidden_channels=8,
    filter_channels=12,
    n_layers=1,
    n_flows=4,
    resblock="2",
    resblock_kernel_sizes=(3, 5),
    resblock_dilation_sizes=((1, 2), (2, 6)),
    upsample_rates=(4, 2),
    upsample_initial_channel=8,
    upsample_kernel_sizes=(8, 4),
)
SPEAKERS = replace(TINY, n_speakers=3, gin_channels=4, use_sdp=False, resblock="1")
MEL = MelSpec(8000, 16, 8, 16, 4)
SMALL_DISCRIMINATORS = DiscriminatorConfig(periods=(2, 3), channels_scale=0.01)
RELEASE = {
    "train": {"segment_size": 64},
    "data": {
        "sampling_rate": 8000,
        "filter_length": 16,
        "hop_length": 8,
        "win_length": 16,
        "n_mel_channels": 4,
        "mel_fmin": 0.0,
        "mel_fmax": None,
        "add_blank": True,
        "n_speakers": 0,
    },
    "model": {
        "inter_channels": 8,
        "hidden_channels": 8,
        "filter_channels": 12,
        "n_heads": 2,
        "n_layers": 1,
        "kernel_size": 3,
        "p_dropout": 0.1,
        "resblock": "2",
        "resblock_kernel_sizes": [3, 5],
        "resblock_dilation_sizes": [[1, 2], [2, 6]],
        "upsample_rates": [4, 2],
        "upsample_initial_channel": 8,
        "upsample_kernel_sizes": [8, 4],
        "n_layers_q": 3,
        "use_spectral_norm": False,
    },
}


def tiny_voice(config: VitsConfig = TINY, **settings: Any) -> Voice:
    mx.random.seed(3)
    model = SynthesizerTrn(config)
    model.eval()
    vocabulary = settings.pop("vocabulary", EnglishPhonemeVocabulary())
    return Voice(model=model, mel_spec=MEL, vocabulary=vocabulary, **settings)


def assert_same_parameters(first: Any, second: Any, tolerance: float = 0.0) -> None:
    ours, theirs = flatten_parameters(first), flatten_parameters(second)
    assert ours.keys() == theirs.keys()
    for name, value in ours.items():
        first_array, second_array = np.array(value), np.array(theirs[name])
        np.testing.assert_allclose(
            first_array, second_array, rtol=tolerance, atol=tolerance / 1e4
        )


@pytest.fixture(scope="module")
def torch_tools() -> SimpleNamespace:
    path = Path(__file__).resolve().parents[1] / "hub" / "conftest.py"
    spec = importlib.util.spec_from_file_location("torch_tools", path)
    assert spec is not None and spec.loader is not None
    module: ModuleType = importlib.util.module_from_spec(spec)
    # Its dataclasses look their module up by name.
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return SimpleNamespace(Writer=module.CheckpointWriter)


def save_release(tools: Any, path: Path, module: Any, config: Any = RELEASE) -> Path:
    """Write a checkpoint as the VITS release's training does."""
    arrays = to_torch(flatten_parameters(module), lambda _: WEIGHT_G_V)
    writer = tools.Writer()
    model = {name: writer.tensor(np.array(x)) for name, x in arrays.items()}
    content = {"model": model, "iteration": 1, "optimizer": {}, "learning_rate": 2e-4}
    path.with_name("config.json").write_text(json.dumps(config))
    return writer.save(path, content)


@pytest.mark.parametrize("config", [TINY, SPEAKERS], ids=["one", "three"])
@pytest.mark.parametrize("dtype", [None, mx.float16], ids=["as is", "half"])
def test_our_layout_round_trip(
    tmp_path: Path, config: VitsConfig, dtype: mx.Dtype | None
) -> None:
    voice = tiny_voice(
        config,
        speakers=["a", "b", "ç"] if config.n_speakers else [],
        inference={"noise_scale": 0.5},
        discriminators=Discriminators(SMALL_DISCRIMINATORS),
    )
    save_voice(tmp_path / "v", voice, dtype=dtype)
    for path in (tmp_path / "v", str(tmp_path / "v")):
        loaded = load_voice(path)
        tolerance = 0.0 if dtype is None else 1e-3
        assert_same_parameters(loaded.model, voice.model, tolerance)
        assert loaded.config == voice.config
        assert loaded.mel_spec == voice.mel_spec
        assert loaded.vocabulary.to_dict() == voice.vocabulary.to_dict()
        assert loaded.speakers == voice.speakers
        assert loaded.inference == {
            "noise_scale": 0.5,
            "noise_scale_w": 0.8,
            "length_scale": 1.0,
        }
        assert loaded.discriminators is not None
        assert loaded.discriminators.config == SMALL_DISCRIMINATORS
        assert_same_parameters(loaded.discriminators, voice.discriminators, tolerance)
    assert load_voice(tmp_path / "v", with_discriminators=False).discriminators is None


def test_the_light_decoder_round_trip(tmp_path: Path) -> None:
    light = replace(
        TINY,
        decoder="istft",
        istft_channels=8,
        istft_layers=1,
        istft_n_fft=16,
        istft_hop_length=8,
    )
    voice = tiny_voice(light)
    save_voice(tmp_path / "v", voice)
    assert_same_parameters(load_voice(tmp_path / "v").model, voice.model)
    with pytest.raises(SpeechError, match="the decoder `istft`, which the Hug"):
        save_hf(tmp_path / "hf", voice)
    assert not (tmp_path / "hf").exists()


def test_an_older_voice_is_replaced_whole(tmp_path: Path) -> None:
    save_voice(
        tmp_path / "v",
        tiny_voice(),
        discriminators=Discriminators(SMALL_DISCRIMINATORS),
    )
    assert (tmp_path / "v" / "discriminator.safetensors").exists()
    save_voice(tmp_path / "v", tiny_voice(SPEAKERS))
    assert sorted(path.name for path in (tmp_path / "v").iterdir()) == [
        "config.json",
        "model.safetensors",
    ]
    assert [path.name for path in tmp_path.iterdir()] == ["v"]


def test_release_checkpoint_with_its_discriminators(
    tmp_path: Path, torch_tools: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    voice, discriminators = tiny_voice(), Discriminators(SMALL_DISCRIMINATORS)
    save_release(torch_tools, tmp_path / "G_20.pth", voice.model)
    save_release(torch_tools, tmp_path / "D_10.pth", discriminators)
    loaded = load_voice(tmp_path / "G_20.pth")
    assert_same_parameters(loaded.model, voice.model)
    assert loaded.config == TINY
    assert loaded.mel_spec == MEL
    assert loaded.reads_ipa
    assert loaded.vocabulary.encode("a") == [0, 43, 0]
    assert loaded.discriminators is None
    # The release's own are too large for a quick test.
    monkeypatch.setattr(
        jaywalnut_layout, "DiscriminatorConfig", lambda: SMALL_DISCRIMINATORS
    )
    (tmp_path / "D_10.pth").rename(tmp_path / "D_20.pth")
    with_discriminators = load_voice(tmp_path / "G_20.pth").discriminators
    assert_same_parameters(with_discriminators, discriminators)


def test_release_folder_takes_the_newest_generator(
    tmp_path: Path, torch_tools: Any
) -> None:
    save_release(torch_tools, tmp_path / "G_100.pth", tiny_voice().model)
    newest = SynthesizerTrn(TINY)
    save_release(torch_tools, tmp_path / "G_1000.pth", newest)
    assert_same_parameters(load_model(tmp_path).model, newest)


def test_release_speakers_and_symbols_of_a_fork(
    tmp_path: Path, torch_tools: Any
) -> None:
    config = json.loads(json.dumps(RELEASE))
    config["data"] |= {"n_speakers": 3, "add_blank": False}
    config["model"] |= {"gin_channels": 4, "use_sdp": False, "resblock": "1"}
    config["symbols"] = ["_", "x", "y"]
    voice = tiny_voice(
        replace(SPEAKERS, n_vocab=3),
        vocabulary=CharacterVocabulary({"_": 0, "x": 1, "y": 2}),
    )
    save_release(torch_tools, tmp_path / "G_1.pth", voice.model, config)
    loaded = load_voice(tmp_path / "G_1.pth")
    assert_same_parameters(loaded.model, voice.model)
    assert loaded.vocabulary.encode("xy") == [1, 2]
    assert not loaded.reads_ipa


def test_discriminator_layout_round_trip() -> None:
    discriminators = Discriminators(SMALL_DISCRIMINATORS)
    arrays = flatten_parameters(discriminators)
    foreign = to_torch(arrays, lambda _: WEIGHT_G_V)
    assert foreign["discriminators.0.convs.0.weight_v"].shape == (4, 1, 15)
    assert foreign["discriminators.1.convs.0.weight_v"].shape[1:] == (1, 5, 1)
    assert foreign["discriminators.1.conv_post.weight_g"].shape == (1, 1, 1, 1)
    back = from_torch(foreign)
    assert back.keys() == arrays.keys()
    assert all(mx.array_equal(back[name], arrays[name]) for name in arrays)


@pytest.mark.parametrize("size", ["high", "medium"])
def test_names_and_shapes_of_the_release_are_ours(
    request: pytest.FixtureRequest, size: str
) -> None:
    golden = request.getfixturevalue(size)
    known = {field.name for field in fields(VitsConfig)}
    config = VitsConfig.from_dict(
        {key: value for key, value in golden.config.items() if key in known}
    )
    for net, module in (
        ("G", SynthesizerTrn(config)),
        ("D", Discriminators(DiscriminatorConfig())),
    ):
        foreign = to_torch(flatten_parameters(module), lambda _: WEIGHT_G_V)
        shapes = {name: list(array.shape) for name, array in foreign.items()}
        assert shapes == golden.shapes[net]


def test_one_speaker_of_a_larger_model_in_hugging_faces_layout(tmp_path: Path) -> None:
    voice = tiny_voice(replace(SPEAKERS, n_speakers=1), speakers=["me"])
    notes = save_hf(tmp_path / "hf", voice, mx.float16)
    assert any("speaker_id=0" in note for note in notes)
    assert any("tokenizer does not read English" in note for note in notes)
    loaded = load_voice(tmp_path / "hf")
    assert loaded.config.n_speakers == 1
    assert loaded.speakers == ("me",)
    assert loaded.vocabulary.to_dict() == voice.vocabulary.to_dict()
    # Half precision, and the decoder's weight norm is made anew.
    for name, value in flatten_parameters(voice.model).items():
        got = np.array(flatten_parameters(loaded.model)[name])
        np.testing.assert_allclose(got, np.array(value), rtol=3e-3, atol=1e-4)


def test_a_checkpoint_of_another_architecture_names_the_keys(
    tmp_path: Path, torch_tools: Any
) -> None:
    save_voice(tmp_path / "v", tiny_voice())
    content = json.loads((tmp_path / "v" / "config.json").read_text())
    content["model"]["use_sdp"] = False
    (tmp_path / "v" / "config.json").write_text(json.dumps(content))
    with pytest.raises(SpeechError) as caught:
        load_voice(tmp_path / "v")
    message = caught.value.message
    assert "another architecture: 8 keys missing (dp.conv_1.bias" in message
    assert "keys unexpected (dp.convs.convs_1x1.0.bias" in message
    assert ", ...); 2 keys with another shape (dp.proj.bias [8] instead" in message

    save_release(torch_tools, tmp_path / "G_1.pth", tiny_voice(SPEAKERS).model)
    with pytest.raises(SpeechError, match=r"1.pth` .* 298 keys missing .*dec.cond"):
        load_voice(tmp_path / "G_1.pth")
    discriminators = tiny_voice(
        discriminators=Discriminators(SMALL_DISCRIMINATORS)
    ).discriminators
    save_release(torch_tools, tmp_path / "G_1.pth", tiny_voice().model)
    save_release(torch_tools, tmp_path / "D_1.pth", discriminators)
    with pytest.raises(SpeechError, match=r"D_1.pth` holds .* another architecture"):
        load_voice(tmp_path / "G_1.pth")


def test_a_truncated_model_file(tmp_path: Path) -> None:
    save_voice(tmp_path / "v", tiny_voice())
    path = tmp_path / "v" / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(SpeechError, match=r"model.safetensors` is truncated"):
        load_voice(tmp_path / "v")
    path.unlink()
    with pytest.raises(SpeechError, match="no file"):
        load_voice(tmp_path / "v")


@pytest.mark.parametrize("load", [load_voice, load_model])
def test_unknown_layouts(tmp_path: Path, load: Any) -> None:
    with pytest.raises(SpeechError, match=r"no file or folder `.*absent`"):
        load(tmp_path / "absent")
    with pytest.raises(SpeechError, match=r"holds no config.json"):
        load(tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "llama"}')
    with pytest.raises(SpeechError, match="unknown layout: model_type is 'llama'"):
        load(tmp_path)
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(SpeechError, match="is not JSON"):
        load(tmp_path)
    (tmp_path / "voice.onnx").write_bytes(b"x")
    with pytest.raises(SpeechError, match=r"voice.onnx` is no "):
        load(tmp_path / "voice.onnx")


def test_release_files_without_or_with_another_configuration(
    tmp_path: Path, torch_tools: Any
) -> None:
    path = save_release(torch_tools, tmp_path / "G_1.pth", tiny_voice().model)
    config = (tmp_path / "config.json").rename(tmp_path / "elsewhere.json")
    with pytest.raises(SpeechError, match=r"no `config.json` beside") as caught:
        load_voice(path)
    assert "--config" in caught.value.hint
    assert load_voice(path, config).config == TINY
    config.write_text('{"model": {}, "data": {"sampling_rate": 8000}}')
    with pytest.raises(SpeechError, match="lacks filter_length, hop_length, win_len"):
        load_voice(path, config)
    config.write_text("[]")
    with pytest.raises(SpeechError, match="lacks the sections `data` and `model`"):
        load_voice(path, config)
    writer = torch_tools.Writer()
    writer.save(path, {"weight": {}, "config": {}})
    config.write_text(json.dumps(RELEASE))
    with pytest.raises(SpeechError, match="has no weights under `model`"):
        load_voice(path, config)


def test_parts_of_our_configuration_that_are_wrong(tmp_path: Path) -> None:
    save_voice(tmp_path / "v", tiny_voice())
    path = tmp_path / "v" / "config.json"
    good = json.loads(path.read_text())
    cases: list[tuple[dict[str, Any], str]] = [
        ({"mel": None}, r"lacks \['mel'\]"),
        ({"extra": 1}, r"unknown keys \['extra'\]"),
        ({"inference": {"speed": 2}}, r"unknown inference settings \['speed'\]"),
        ({"speakers": ["a"]}, "1 speaker names for a model of 0 speakers"),
        ({"model": good["model"] | {"n_vocab": 5}}, "another shape"),
        (
            {"model": good["model"] | {"n_vocab": "many"}},
            "describe no VITS",
        ),
        ({"model": good["model"] | {"depth": 5}}, r"unknown keys .*\['depth'\]"),
        ({"mel": good["mel"] | {"n_fft": 32}}, "has 17 bins and the model 9"),
        ({"mel": good["mel"] | {"hop_length": 4}}, "has 4 samples a frame and the m"),
        ({"mel": good["mel"] | {"sample_rate": "fast"}}, "describe no VITS model"),
        ({"speakers": 5}, "describe no VITS model"),
        ({"inference": {"noise_scale": "loud"}}, "describe no VITS model"),
        ({"inference": {"length_scale": 0}}, "length_scale is 0.0"),
        ({"vocabulary": {"kind": "runes"}}, "the vocabulary kind 'runes'"),
    ]
    for change, message in cases:
        path.write_text(json.dumps(good | change))
        with pytest.raises(SpeechError, match=message):
            load_voice(tmp_path / "v")


def test_a_vocabulary_larger_than_the_embedding_is_refused() -> None:
    with pytest.raises(SpeechError, match="78 symbols and the model's embedding 10 "):
        tiny_voice(replace(TINY, n_vocab=10))


def test_a_run_folder_gives_its_finished_model(tmp_path: Path) -> None:
    run = tmp_path / "run"
    (run / "checkpoints").mkdir(parents=True)
    with pytest.raises(SpeechError, match="has no finished model yet"):
        load_model(run)
    voice = tiny_voice()
    save_voice(run / "model", voice)
    assert_same_parameters(load_model(run).model, voice.model)
