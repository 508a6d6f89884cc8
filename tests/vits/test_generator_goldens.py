"""The generator's stages against PyTorch, on rebuilt weights of both decoder sizes."""

from __future__ import annotations

from dataclasses import dataclass
from types import ModuleType
from typing import Any

import mlx.core as mx
import numpy as np
import pytest
from mlx.utils import tree_flatten

from mlx_speech.vits.config import VitsConfig
from mlx_speech.vits.masks import slice_segments
from mlx_speech.vits.model import InferredLatent, SynthesizerTrn, VitsForward

SEGMENT_FRAMES = 32
# noise_scale, length_scale, noise_scale_w of the two stored inference runs.
RUNS = ((0.667, 1.0, 0.8), (0.3, 1.4, 0.5))


@dataclass
class Case:
    """One golden, its model in evaluation mode, and one forward pass of it."""

    golden: Any
    model: SynthesizerTrn
    forward: VitsForward


@pytest.fixture(scope="module", params=["high", "medium"])
def case(request: pytest.FixtureRequest) -> Case:
    golden = request.getfixturevalue(request.param)
    known = VitsConfig.__dataclass_fields__
    config = {name: v for name, v in golden.config.items() if name in known}
    model = SynthesizerTrn(VitsConfig.from_dict(config))
    golden.load(model, "G")
    model.eval()
    forward = model.forward(
        mx.array(golden.input("in.text")),
        mx.array(golden.input("in.text_lens")),
        golden.channels_last_input("in.spec"),
        mx.array(golden.input("in.lens")),
        golden.channels_last_input("in.eps"),
        golden.channels_last_input("in.dp_noise"),
    )
    return Case(golden, model, forward)


def test_every_parameter_has_its_name_in_the_reference(case: Case) -> None:
    ours = {name for name, _ in tree_flatten(case.model.parameters())}
    assert ours == set(case.golden.shapes["G"])


def test_text_encoder(case: Case, recipe: ModuleType) -> None:
    text = mx.array(case.golden.input("in.text"))
    lengths = mx.array(case.golden.input("in.text_lens"))
    x, m_p, logs_p, _ = case.model.enc_p(text, lengths)
    for name, value in (("x", x), ("m", m_p), ("logs", logs_p)):
        field = f"fwd.enc_p.{name}"
        case.golden.check(field, recipe.channels_first(value), strict=True)


@pytest.mark.parametrize("name", ["z", "z_p", "m_p", "logs_p", "m_q", "logs_q"])
def test_latents_and_aligned_prior(case: Case, recipe: ModuleType, name: str) -> None:
    value = recipe.channels_first(getattr(case.forward, name))
    case.golden.check(f"fwd.{name}", value, strict=True)


def test_alignment_is_equal(case: Case) -> None:
    durations = np.array(mx.sum(case.forward.path, axis=1)).astype(np.int32)
    case.golden.check("fwd.mas_durations", durations)
    frames = np.array(mx.sum(case.forward.path, axis=2))
    np.testing.assert_array_equal(frames, np.array(case.forward.spec_mask))


def test_duration_loss(case: Case) -> None:
    loss = np.array(case.forward.duration_loss)
    case.golden.check("fwd.l_length", loss, strict=True)
    symbols = float(mx.sum(case.forward.text_mask).item())
    case.golden.check("fwd.dp", loss * symbols, strict=True)


def test_decoded_segment(case: Case) -> None:
    starts = mx.array(case.golden.input("in.ids"))
    segment = slice_segments(case.forward.z, starts, SEGMENT_FRAMES)
    audio = np.array(case.model.decode(segment))[:, None, :]
    case.golden.check("fwd.y_hat", audio, strict=True)


def _infer(case: Case, run: int) -> tuple[InferredLatent, mx.array]:
    noise_scale, length_scale, noise_scale_w = RUNS[run]
    arguments: dict[str, Any] = {
        "noise_scale": noise_scale,
        "length_scale": length_scale,
        "noise_scale_w": noise_scale_w,
        "prior_noise": case.golden.channels_last_input("inf.noise_all"),
        "duration_noise": case.golden.channels_last_input("inf.noise_w"),
    }
    text = mx.array(case.golden.input("inf.text"))
    lengths = mx.array(case.golden.input("inf.text_lens"))
    latent = case.model.infer_latent(text, lengths, **arguments)
    return latent, case.model.infer(text, lengths, **arguments).audio


@pytest.mark.parametrize("run", [0, 1])
def test_inference(case: Case, recipe: ModuleType, run: int) -> None:
    latent, audio = _infer(case, run)
    log_durations = np.array(latent.log_durations)[:, None, :]
    case.golden.check(f"inf.logw{run}", log_durations, strict=True)
    case.golden.check(f"inf.durations{run}", np.array(latent.durations))
    if run == 0:
        case.golden.check("inf.z_p0", recipe.channels_first(latent.z_p), strict=True)
        case.golden.check("inf.z0", recipe.channels_first(latent.z), strict=True)
    case.golden.check(f"inf.audio{run}", np.array(audio)[:, None, :], strict=True)
