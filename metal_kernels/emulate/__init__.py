"""Run and check Metal kernels of ``mx.fast.metal_kernel`` on a machine without Metal.

The guide is README.md in this folder.
"""

from __future__ import annotations

from mlx_speech.metal_kernels.emulate.cuda_twin import (
    CudaResources,
    CudaText,
    compile_cuda,
    cuda_text,
)
from mlx_speech.metal_kernels.emulate.dropin import Launch, Launches, dropin
from mlx_speech.metal_kernels.emulate.faults import Finding, KernelFault
from mlx_speech.metal_kernels.emulate.generate import GeneratedText, generate
from mlx_speech.metal_kernels.emulate.launch import prepare, run
from mlx_speech.metal_kernels.emulate.mutate import (
    Mutant,
    Verdict,
    judge,
    mutants,
    score,
    survivors,
)
from mlx_speech.metal_kernels.emulate.plant import KINDS, Planted, gaps, planted
from mlx_speech.metal_kernels.emulate.program import Outcome, Program
from mlx_speech.metal_kernels.emulate.typecheck import check_text

__all__ = [
    "KINDS",
    "CudaResources",
    "CudaText",
    "Finding",
    "GeneratedText",
    "KernelFault",
    "Launch",
    "Launches",
    "Mutant",
    "Outcome",
    "Planted",
    "Program",
    "Verdict",
    "check_text",
    "compile_cuda",
    "cuda_text",
    "dropin",
    "gaps",
    "generate",
    "judge",
    "mutants",
    "planted",
    "prepare",
    "run",
    "score",
    "survivors",
]
