"""Make ctc.npz: PyTorch's CTC loss and its gradient, in double precision.

Version: torch 2.13.

    python tests/goldens/make_ctc.py
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

HERE = Path(__file__).resolve().parent


def main() -> None:
    random = np.random.default_rng(0)
    scores = (2 * random.normal(size=(5, 30, 7))).astype(np.float32)
    # A full row, a short one, one without labels, one with just room for a repetition.
    frames, counts = np.array([30, 21, 30, 4, 1]), np.array([9, 4, 0, 3, 1])
    labels = random.integers(1, 7, size=(5, 9))
    labels[0, 3] = labels[0, 2]
    labels[3, :3] = [1, 2, 2]
    weights = np.array([1.0, 2.0, 0.5, 3.0, 1.5], np.float32)
    tensor = torch.tensor(scores, dtype=torch.float64, requires_grad=True)
    losses = torch.nn.functional.ctc_loss(
        tensor.log_softmax(-1).transpose(0, 1),
        torch.tensor(labels),
        torch.tensor(frames),
        torch.tensor(counts),
        reduction="none",
    )
    (losses * torch.tensor(weights)).sum().backward()
    np.savez_compressed(
        HERE / "ctc.npz",
        scores=scores,
        frames=frames,
        labels=labels,
        counts=counts,
        weights=weights,
        losses=losses.detach().numpy(),
        gradient=tensor.grad.numpy(),
    )


if __name__ == "__main__":
    main()
