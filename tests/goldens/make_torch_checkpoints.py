"""Make torch_zip.pth, torch_stream.pth and torch_checkpoint.npz (needs torch 2.13).

python tests/goldens/make_torch_checkpoints.py
"""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path

import numpy as np
import torch

HERE = Path(__file__).resolve().parent


def main() -> None:
    generator = torch.Generator().manual_seed(5)
    base = torch.randn(4, 6, generator=generator)
    model = OrderedDict(
        float32=torch.nn.Parameter(torch.randn(3, 2, generator=generator)),
        float16=torch.randn(5, generator=generator).half(),
        bfloat16=torch.randn(2, 3, generator=generator).bfloat16(),
        int64=torch.arange(4),
        transposed=base.T,
        strided=base[1:, ::2],
        scalar=torch.tensor(2.5),
    )
    parameter = model["float32"]
    optimizer = torch.optim.AdamW([parameter], lr=1.5e-4, betas=(0.8, 0.99))
    parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    content = {
        "model": model,
        "iteration": 12,
        "optimizer": optimizer.state_dict(),
        "learning_rate": 1.5e-4,
    }
    torch.save(content, HERE / "torch_zip.pth")
    torch.save(content, HERE / "torch_stream.pth", _use_new_zipfile_serialization=False)
    arrays = {}
    for name, tensor in model.items():
        tensor = tensor.detach()
        if tensor.dtype == torch.bfloat16:
            tensor = tensor.float()
        arrays[name] = np.ascontiguousarray(tensor.numpy()).reshape(tensor.shape)
    np.savez(HERE / "torch_checkpoint.npz", **arrays)


if __name__ == "__main__":
    main()
