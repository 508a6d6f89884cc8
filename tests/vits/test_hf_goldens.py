"""Hugging Face's layout, against numbers of transformers' VitsModel on tiny models.

Weights are rebuilt from tests/goldens/hf_vits_recipe.py; tests/goldens/make_hf_vits.py
made the numbers (transformers 5.23.0, torch 2.13.0).
"""

from __future__ import annotations

import importlib.util
import json
import shutil
from pathlib import Path
from types import ModuleType
from typing import Any

import mlx.core as mx
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from mlx_speech.errors import SpeechError
from mlx_speech.hub.save import flatten_parameters
from mlx_speech.vits.checkpoints import Voice, load_voice
from mlx_speech.vits.hf_layout import save_hf
from mlx_speech.vits.masks import sequence_mask

GOLDENS = Path(__file__).resolve().parents[1] / "goldens"
NAMES = ("single", "multi")
# Of the field's largest value: float32 in the same order of operations.
STRICT = 3e-5


class Golden:
    """One golden file, its folder in Hugging Face's layout, and the loaded voice."""

    def __init__(self, name: str, recipe: ModuleType, folder: Path) -> None:
        self.arrays = dict(np.load(GOLDENS / f"hf_vits_{name}.npz"))
        self.meta = json.loads(bytes(self.arrays.pop("meta")))
        self.folder = recipe.write_folder(folder, name, self.meta["shapes"])
        self.state = recipe.state(self.meta["shapes"])
        self.voice: Voice = load_voice(self.folder)
        self.speakers = mx.array([2, 2]) if name == "multi" else None
        self.name = name

    def __getitem__(self, key: str) -> mx.array:
        return mx.array(self.arrays[key])

    def check(self, key: str, value: mx.array) -> None:
        wanted = self.arrays[key]
        np.testing.assert_allclose(
            np.array(value), wanted, rtol=0, atol=STRICT * np.abs(wanted).max()
        )


@pytest.fixture(scope="module")
def recipe() -> ModuleType:
    spec = importlib.util.spec_from_file_location(
        "hf_vits_recipe", GOLDENS / "hf_vits_recipe.py"
    )
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module", params=NAMES)
def golden(
    request: pytest.FixtureRequest,
    recipe: ModuleType,
    tmp_path_factory: pytest.TempPathFactory,
) -> Golden:
    return Golden(request.param, recipe, tmp_path_factory.mktemp(request.param))


def test_text_encoder(golden: Golden) -> None:
    hidden, m_p, logs_p, _ = golden.voice.model.enc_p(golden["ids"], golden["lengths"])
    golden.check("hidden", hidden)
    golden.check("prior_means", m_p)
    golden.check("prior_logs", logs_p)


def test_posterior_encoder(golden: Golden) -> None:
    model = golden.voice.model
    mask = sequence_mask(golden["spec_lengths"], golden["spec"].shape[1])
    g = model.speaker_vectors(golden.speakers)
    m_q, logs_q = model.enc_q(golden["spec"], mask, g)
    golden.check("posterior_mean", m_q)
    golden.check("posterior_logs", logs_q)


def test_flow_forward_and_reverse(golden: Golden) -> None:
    model = golden.voice.model
    mask = sequence_mask(golden["spec_lengths"], golden["z"].shape[1])
    g = model.speaker_vectors(golden.speakers)
    golden.check("flow_forward", model.flow(golden["z"], mask, g))
    golden.check("flow_reverse", model.flow.reverse(golden["z"], mask, g))


def test_decoder(golden: Golden) -> None:
    decoded = golden.voice.model.decode(golden["z"], golden.speakers)
    golden.check("decoded", decoded)


def infer_settings(golden: Golden) -> dict[str, Any]:
    return {
        **golden.voice.inference,
        "speaker_ids": golden.speakers,
        "prior_noise": golden["prior_noise"],
        "duration_noise": golden["duration_noise"],
    }


def test_durations_and_speech_with_the_settings_of_the_folder(golden: Golden) -> None:
    model = golden.voice.model
    latent = model.infer_latent(
        golden["ids"], golden["lengths"], **infer_settings(golden)
    )
    valid = np.arange(golden["ids"].shape[1]) < golden.arrays["lengths"][:, None]
    golden.check("log_durations", mx.where(mx.array(valid), latent.log_durations, 0))
    golden.check("latent", latent.z * latent.mask)
    speech = model.infer(golden["ids"], golden["lengths"], **infer_settings(golden))
    golden.check("waveform", speech.audio)
    assert speech.lengths.tolist() == golden.arrays["sample_lengths"].tolist()


def test_settings_of_the_folder(golden: Golden) -> None:
    voice = golden.voice
    assert voice.sample_rate == 8000
    assert (voice.mel_spec.n_fft, voice.mel_spec.hop_length) == (16, 8)
    assert dict(voice.inference) == {
        "noise_scale": 0.6,
        "noise_scale_w": 0.7,
        "length_scale": 0.8,
    }
    assert voice.config.n_speakers == (3 if golden.name == "multi" else 0)
    assert not voice.model.training
    assert not voice.reads_ipa


def test_the_vocabulary_gives_the_tokenizers_ids(golden: Golden) -> None:
    for text, ids in zip(golden.meta["texts"], golden.meta["token_ids"], strict=True):
        assert golden.voice.vocabulary.encode(text) == ids


def test_saving_gives_back_every_array(golden: Golden, tmp_path: Path) -> None:
    assert save_hf(tmp_path / "out", golden.voice) == []
    saved = load_file(tmp_path / "out" / "model.safetensors")
    assert {key: list(value.shape) for key, value in saved.items()} == golden.meta[
        "shapes"
    ]
    for key, value in golden.state.items():
        np.testing.assert_allclose(saved[key], value, rtol=2e-6, atol=1e-7)


def test_saved_settings_and_vocabulary_are_those_of_the_source(
    golden: Golden, tmp_path: Path
) -> None:
    save_hf(tmp_path / "out", golden.voice)
    for name in ("config.json", "tokenizer_config.json"):
        before = json.loads((golden.folder / name).read_text())
        after = json.loads((tmp_path / "out" / name).read_text())
        assert {key: after.get(key) for key in before} == before
    again = load_voice(tmp_path / "out")
    assert again.config == golden.voice.config
    assert again.mel_spec == golden.voice.mel_spec
    assert again.inference == golden.voice.inference
    assert again.vocabulary.to_dict() == golden.voice.vocabulary.to_dict()


def test_older_spelling_of_weight_norm_loads(golden: Golden, tmp_path: Path) -> None:
    folder = shutil.copytree(golden.folder, tmp_path / "old")
    renamed = {
        key.replace("parametrizations.weight.original0", "weight_g").replace(
            "parametrizations.weight.original1", "weight_v"
        ): value
        for key, value in golden.state.items()
    }
    assert renamed.keys() != golden.state.keys()
    save_file(renamed, folder / "model.safetensors")
    ours = flatten_parameters(load_voice(folder).model)
    for key, value in flatten_parameters(golden.voice.model).items():
        assert mx.array_equal(ours[key], value), key


def test_shards_load(golden: Golden, tmp_path: Path) -> None:
    folder = shutil.copytree(golden.folder, tmp_path / "sharded")
    (folder / "model.safetensors").unlink()
    names = sorted(golden.state)
    weight_map = {}
    for number in (0, 1):
        file = f"model-0000{number + 1}-of-00002.safetensors"
        save_file({key: golden.state[key] for key in names[number::2]}, folder / file)
        weight_map |= dict.fromkeys(names[number::2], file)
    (folder / "model.safetensors.index.json").write_text(
        json.dumps({"weight_map": weight_map})
    )
    ours = flatten_parameters(load_voice(folder).model)
    for key, value in flatten_parameters(golden.voice.model).items():
        assert mx.array_equal(ours[key], value), key


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"wavenet_kernel_size": 3}, "wavenet_kernel_size is 3 instead of 5"),
        ({"duration_predictor_num_flows": 2}, "duration_predictor_num_flows is 2"),
        ({"num_speakers": 1, "speaker_embedding_size": 6}, "1 speakers with 6"),
        ({"num_hidden_layers": 3}, "18 keys missing"),
        ({"num_hidden_layers": 1}, "keys unexpected .text_encoder.encoder.layers.1"),
        ({"hidden_size": 18}, "with another shape"),
        ({"vocab_size": 10}, r"enc_p.emb.weight \[14, 16\] instead of \[10, 16\]"),
        ({"hidden_size": 17}, "must be a multiple of n_heads"),
        ({"upsample_rates": [4]}, "upsample_rates"),
        ({"hidden_size": "wide"}, "describe no VITS model"),
        ({"speaking_rate": 0}, "describe no VITS model"),
        ({"speaking_rate": -1}, "length_scale is -1.0"),
        ({"num_hidden_layers": None}, "describe no VITS model"),
        ({"resblock_dilation_sizes": {}}, "describe no VITS model"),
    ],
)
def test_settings_that_do_not_fit_are_named(
    golden: Golden, tmp_path: Path, settings: dict[str, Any], message: str
) -> None:
    folder = shutil.copytree(golden.folder, tmp_path / "changed")
    config = json.loads((folder / "config.json").read_text()) | settings
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(SpeechError, match=message):
        load_voice(folder)


def test_every_foreign_array_must_have_a_place(golden: Golden, tmp_path: Path) -> None:
    folder = shutil.copytree(golden.folder, tmp_path / "more")
    more = golden.state | {"decoder.surprise.weight": np.zeros(3, np.float32)}
    save_file(more, folder / "model.safetensors")
    with pytest.raises(SpeechError, match=r"1 keys unexpected .decoder.surprise.weig"):
        load_voice(folder)
    twice = golden.state | {"decoder.upsampler.0.weight_v": np.zeros(3, np.float32)}
    save_file(twice, folder / "model.safetensors")
    with pytest.raises(SpeechError, match=r"`dec.ups.0`: .* is there 2 times"):
        load_voice(folder)
