"""Make whisper_training.npz: losses, gradients and one step of training in PyTorch.

Versions: torch 2.13, transformers 5.23. The model is "distilled" of whisper_recipe.py,
with a layer for CTC beside it. Of each gradient and of each step its norm and every
37th value are stored.

    python tests/goldens/make_whisper_training.py
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))
import whisper_recipe as recipe  # noqa: E402
from make_whisper import hf_model  # noqa: E402

NAME, CLASSES, STRIDE = "distilled", 11, 37
CTC_WEIGHT, CLIP = 0.3, 1.0
ADAM = {"lr": 1e-3, "betas": (0.9, 0.98), "eps": 1e-8, "weight_decay": 0.01}


def inputs() -> dict[str, np.ndarray]:
    """A batch of two windows; the layer for CTC."""
    random = np.random.default_rng(5)
    positions, channels = 33, 32
    return {
        "tokens": random.integers(0, 97, size=(2, 12)),
        "targets": random.integers(0, 97, size=(2, 12)),
        "counted": np.array([[0, 0] + [1] * 10, [0] * 4 + [1] * 5 + [0] * 3], float),
        "positions": np.array([positions, 20]),
        "labels": random.integers(1, CLASSES, size=(2, 6)),
        "label_lengths": np.array([6, 4]),
        "ctc_weight": random.normal(size=(CLASSES, channels)) * 0.2,
        "ctc_bias": random.normal(size=CLASSES),
    }


def main() -> None:
    given = inputs()
    model = hf_model(NAME)
    # Sinusoids are no parameters of ours.
    model.model.encoder.embed_positions.weight.requires_grad_(False)
    ctc = torch.nn.Linear(32, CLASSES)
    ctc.weight.data = torch.tensor(given["ctc_weight"], dtype=torch.float32)
    ctc.bias.data = torch.tensor(given["ctc_bias"], dtype=torch.float32)
    named = {
        name: parameter
        for name, parameter in model.named_parameters()
        if parameter.requires_grad
    }
    named |= {f"ctc.{name}": parameter for name, parameter in ctc.named_parameters()}
    optimizer = torch.optim.AdamW(named.values(), **ADAM)
    mel = torch.tensor(recipe.mel(NAME)).transpose(1, 2)
    fields: dict[str, np.ndarray] = {}
    for step in (1, 2):
        optimizer.zero_grad()
        features = model.model.encoder(mel).last_hidden_state
        logits = model(
            encoder_outputs=(features,), decoder_input_ids=torch.tensor(given["tokens"])
        ).logits
        wrong = torch.nn.functional.cross_entropy(
            logits.transpose(1, 2), torch.tensor(given["targets"]), reduction="none"
        )
        counted = torch.tensor(given["counted"], dtype=torch.float32)
        tokens = (wrong * counted).sum() / counted.sum()
        missed = torch.nn.functional.ctc_loss(
            ctc(features).log_softmax(-1).transpose(0, 1),
            torch.tensor(given["labels"]),
            torch.tensor(given["positions"]),
            torch.tensor(given["label_lengths"]),
            reduction="sum",
        )
        labels = missed / int(given["label_lengths"].sum())
        (tokens + CTC_WEIGHT * labels).backward()
        fields[f"losses_{step}"] = np.array([tokens.item(), labels.item()])
        if step == 1:
            before = {name: value.detach().clone() for name, value in named.items()}
            for name, value in named.items():
                add(fields, f"gradient {name}", value.grad)
            norm = torch.nn.utils.clip_grad_norm_(named.values(), CLIP)
            fields["norm"] = np.array(norm.item())
            optimizer.step()
            for name, value in named.items():
                add(fields, f"step {name}", value.detach() - before[name])
    np.savez_compressed(HERE / "whisper_training.npz", **fields)


def add(fields: dict[str, np.ndarray], name: str, value: torch.Tensor) -> None:
    array = value.double().numpy()
    fields[f"{name} norm"] = np.array(np.linalg.norm(array))
    fields[f"{name} sample"] = array.reshape(-1)[::STRIDE]


if __name__ == "__main__":
    main()
