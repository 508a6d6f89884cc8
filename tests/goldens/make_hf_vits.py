"""Make hf_vits_single.npz and hf_vits_multi.npz (torch 2.13.0, transformers 5.23.0).

    python tests/goldens/make_hf_vits.py
    python tests/goldens/make_hf_vits.py --check FOLDER NAME

The second form loads a folder that our own converter wrote in transformers and
compares its speech with the golden.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from transformers import VitsConfig, VitsModel, VitsTokenizer

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))
import hf_vits_recipe as recipe  # noqa: E402

TEXTS = ["hello, ABBA  collared!", "Șoareci țel", "a b  c'd "]
SPEAKER = 2
FRAMES = 21


def channels_last(x: torch.Tensor) -> np.ndarray:
    return np.ascontiguousarray(x.detach().numpy().swapaxes(1, 2))


def speak(model: VitsModel, ids: torch.Tensor, mask: torch.Tensor) -> dict[str, Any]:
    """VitsModel.forward with noises that are stored."""
    batch, symbols = ids.shape
    duration = torch.from_numpy(
        np.random.default_rng(1).standard_normal((batch, 2, symbols)).astype("f4")
    )
    prior = torch.from_numpy(
        np.random.default_rng(2).standard_normal((batch, 8, 400)).astype("f4")
    )
    speaker = SPEAKER if model.config.num_speakers > 1 else None
    with (
        patch("torch.randn", lambda *shape, **_: duration),
        patch("torch.randn_like", lambda x, **_: prior[:, :, : x.shape[2]]),
    ):
        output = model(ids, attention_mask=mask, speaker_id=speaker)
    assert output.spectrogram.shape[2] <= 400
    return {
        "duration_noise": channels_last(duration),
        "prior_noise": channels_last(prior[:, :, : output.spectrogram.shape[2]]),
        "latent": channels_last(output.spectrogram),
        "waveform": output.waveform.numpy(),
        "sample_lengths": output.sequence_lengths.numpy(),
    }


def inputs() -> tuple[torch.Tensor, torch.Tensor]:
    generator = np.random.default_rng(0)
    ids = torch.from_numpy(generator.integers(0, len(recipe.SYMBOLS), (2, 13)))
    mask = torch.ones_like(ids)
    mask[1, 9:] = 0
    return ids * mask, mask


@torch.no_grad()
def make(name: str) -> None:
    shapes = {
        key: list(value.shape)
        for key, value in VitsModel(VitsConfig(**recipe.CONFIGS[name]))
        .state_dict()
        .items()
    }
    with tempfile.TemporaryDirectory() as temporary:
        folder = recipe.write_folder(Path(temporary), name, shapes)
        model, report = VitsModel.from_pretrained(folder, output_loading_info=True)
        assert not any(report.values()), report
        model.eval()
        tokenizer = VitsTokenizer.from_pretrained(folder)
        token_ids = [tokenizer(text)["input_ids"] for text in TEXTS]

    ids, mask = inputs()
    mask_bl1 = mask[..., None].float()
    many = model.config.num_speakers > 1
    g = model.embed_speaker(torch.full((2,), SPEAKER))[..., None] if many else None
    text = model.text_encoder(ids, mask_bl1, mask)
    arrays: dict[str, Any] = {
        "ids": ids.numpy(),
        "lengths": mask.sum(1).numpy(),
        "hidden": text.last_hidden_state.numpy(),
        "prior_means": text.prior_means.numpy(),
        "prior_logs": text.prior_log_variances.numpy(),
    }
    generator = np.random.default_rng(3)
    spec = np.abs(generator.standard_normal((2, 9, FRAMES))).astype("f4")
    spec_mask = (np.arange(FRAMES) < np.array([[FRAMES], [15]])).astype("f4")[:, None]
    spec_t, spec_mask_t = torch.from_numpy(spec), torch.from_numpy(spec_mask)
    _, mean, log_stddev = model.posterior_encoder(spec_t, spec_mask_t, g)
    z = torch.from_numpy(generator.standard_normal((2, 8, FRAMES)).astype("f4"))
    z = z * spec_mask_t
    arrays |= {
        "spec": channels_last(spec_t),
        "spec_lengths": np.array([FRAMES, 15]),
        "posterior_mean": channels_last(mean),
        "posterior_logs": channels_last(log_stddev),
        "z": channels_last(z),
        "flow_forward": channels_last(model.flow(z, spec_mask_t, g)),
        "flow_reverse": channels_last(model.flow(z, spec_mask_t, g, reverse=True)),
        "decoded": model.decoder(z, g)[:, 0].numpy(),
    }
    arrays |= speak(model, ids, mask)
    duration = torch.from_numpy(arrays["duration_noise"].swapaxes(1, 2).copy())
    hidden = text.last_hidden_state.swapaxes(1, 2)
    settings = {}
    if not many:
        settings = {"reverse": True, "noise_scale": model.noise_scale_duration}
    with patch("torch.randn", lambda *shape, **_: duration):
        logs = model.duration_predictor(hidden, mask_bl1.swapaxes(1, 2), g, **settings)
    arrays["log_durations"] = (logs[:, 0] * mask).numpy()
    exact = np.exp(arrays["log_durations"])[mask.numpy() > 0] / 1.25
    margin = np.abs(exact - np.round(exact)).min()
    assert margin > 1e-3, f"a duration is within {margin} of a whole number"
    print(name, "margin", margin, "samples", arrays["waveform"].shape)

    meta = {"shapes": shapes, "texts": TEXTS, "token_ids": token_ids}
    arrays["meta"] = np.frombuffer(json.dumps(meta).encode(), np.uint8)
    np.savez_compressed(HERE / f"hf_vits_{name}.npz", **arrays)


@torch.no_grad()
def check(folder: str, name: str) -> None:
    golden = np.load(HERE / f"hf_vits_{name}.npz")
    model, report = VitsModel.from_pretrained(folder, output_loading_info=True)
    assert not any(report.values()), report
    spoken = speak(model.eval(), *inputs())
    for key in ("latent", "waveform"):
        difference = np.abs(spoken[key] - golden[key]).max()
        print(key, "largest difference", difference, "of", np.abs(golden[key]).max())
    meta = json.loads(bytes(golden["meta"]))
    tokenizer = VitsTokenizer.from_pretrained(folder)
    assert [tokenizer(text)["input_ids"] for text in TEXTS] == meta["token_ids"]
    print("the tokenizer gives the same ids")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--check"]:
        check(*sys.argv[2:4])
    else:
        for each in recipe.CONFIGS:
            make(each)
