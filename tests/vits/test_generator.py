"""HiFi-GAN's generator: the PyTorch golden, lengths, both blocks, refusals."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import mlx.core as mx
import numpy as np
import pytest
from mlx.utils import tree_flatten

from mlx_speech.errors import SpeechError
from mlx_speech.vits.config import VitsConfig
from mlx_speech.vits.generator import HifiGanGenerator

TINY = VitsConfig(
    n_vocab=4,
    inter_channels=4,
    upsample_initial_channel=16,
    upsample_rates=(4, 2),
    upsample_kernel_sizes=(8, 4),
    resblock_kernel_sizes=(3, 5),
    resblock_dilation_sizes=((1, 2), (2, 6)),
)


def test_resblock_2_decoder_matches_pytorch(medium: Any) -> None:
    names = ("resblock", "resblock_kernel_sizes", "resblock_dilation_sizes")
    names += ("upsample_rates", "upsample_kernel_sizes", "upsample_initial_channel")
    chosen = {name: medium.config[name] for name in names}
    decoder = HifiGanGenerator(VitsConfig.from_dict({"n_vocab": 4, **chosen}))
    medium.load(decoder, "G", only="dec.")
    z, starts = medium.arrays["fwd.z"], medium.arrays["in.ids"]
    z = np.stack([item[:, s : s + 32] for item, s in zip(z, starts, strict=True)])
    audio = decoder(mx.array(z.swapaxes(1, 2)))
    medium.check("fwd.y_hat", np.array(audio)[:, None], strict=True)


@pytest.mark.parametrize("resblock", ["1", "2"])
def test_makes_hop_length_samples_of_each_frame(resblock: str) -> None:
    config = replace(TINY, resblock=resblock)
    audio = HifiGanGenerator(config)(mx.random.normal((3, 7, 4)))
    assert audio.shape == (3, 7 * config.hop_length)
    assert mx.abs(audio).max().item() < 1


def test_resblock_2_has_one_convolution_a_step() -> None:
    for resblock, leaves in (("1", {"convs1", "convs2"}), ("2", {"convs"})):
        decoder = HifiGanGenerator(replace(TINY, resblock=resblock))
        names = [name for name, _ in tree_flatten(decoder.parameters())]
        found = {name.split(".")[2] for name in names if name.startswith("resblocks.")}
        assert found == leaves


def test_the_speaker_changes_the_audio() -> None:
    decoder = HifiGanGenerator(replace(TINY, n_speakers=2, gin_channels=3))
    z = mx.random.normal((1, 5, 4))
    one, other = decoder(z, mx.ones((1, 1, 3))), decoder(z, -mx.ones((1, 1, 3)))
    assert mx.abs(one - other).max().item() > 1e-4


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"upsample_kernel_sizes": (8,)}, "2 upsample_rates and 1"),
        ({"upsample_kernel_sizes": (7, 4)}, "kernel of 7 does not fit the rate 4"),
        ({"upsample_kernel_sizes": (2, 4)}, "kernel of 2 does not fit the rate 4"),
        ({"upsample_initial_channel": 18}, "halved 2 times"),
        ({"resblock_kernel_sizes": (3,)}, "1 resblock_kernel_sizes and 2"),
        ({"resblock_kernel_sizes": (3, 4)}, "must be odd"),
    ],
)
def test_refuses_sizes_that_do_not_fit(changes: dict, message: str) -> None:
    with pytest.raises(SpeechError, match=message):
        HifiGanGenerator(replace(TINY, **changes))
