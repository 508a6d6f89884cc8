"""Teachers: black-box linear operators that a butterfly is fitted to by questions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from mlx_speech.butterfly.exact import exact_function
from mlx_speech.butterfly.transform import ButterflyTransform
from mlx_speech.errors import SpeechError

# complex128 or float64 [batch, n] in, [batch, outputs] out.
Teacher = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class FitResult:
    """What a fit cost, and how it went.

    Attributes:
        method: name of the fit.
        steps: gradient steps (0 of a closed form).
        vectors: questions that the teacher was asked.
        seconds: processor time of this process.
        losses: (step, relative error on the vectors of that step).
    """

    method: str
    steps: int
    vectors: int
    seconds: float
    losses: list[tuple[int, float]] = field(default_factory=list)


def dft_teacher(transform: ButterflyTransform) -> Teacher:
    """The exact transform that a butterfly of this kind stands for."""
    return exact_function(
        transform.real, transform.inverse, transform.n, transform.norm
    )


def noisy(teacher: Teacher, level: float, seed: int = 0) -> Teacher:
    """A teacher whose answers carry Gaussian noise of ``level`` times their RMS."""
    draw = np.random.default_rng(seed)

    def answer(x: np.ndarray) -> np.ndarray:
        y = np.asarray(teacher(x))
        noise = draw.standard_normal(y.shape)
        if np.iscomplexobj(y):
            noise = (noise + 1j * draw.standard_normal(y.shape)) / 2**0.5
        return y + level * np.sqrt(np.mean(np.abs(y) ** 2)) * noise

    return answer


def ask(teacher: Teacher, x: np.ndarray, outputs: int) -> np.ndarray:
    """The teacher's answers, checked.

    Args:
        teacher: the operator.
        x: [batch, n].
        outputs: values in an answer.

    Returns:
        [batch, outputs]

    Raises:
        SpeechError: answers of another shape, or with NaN or infinity in them.
    """
    y = np.asarray(teacher(x))
    if y.shape != (len(x), outputs):
        raise SpeechError(
            f"the teacher answers {list(x.shape)} with {list(y.shape)}, "
            f"not {[len(x), outputs]}",
            "a teacher maps [batch, n] to [batch, outputs]",
        )
    if not np.all(np.isfinite(y)):
        raise SpeechError(
            f"the teacher answers with NaN or infinity ({(~np.isfinite(y)).sum()} of "
            f"{y.size} values)",
            "repair the teacher: a fit to this cannot converge",
        )
    return y


def white(draw: np.random.Generator, shape: tuple[int, ...], real: bool) -> np.ndarray:
    """Gaussian questions: no direction is preferred, so no bin stays unseen."""
    x = draw.standard_normal(shape)
    return x if real else x + 1j * draw.standard_normal(shape)


def require_complex(transform: ButterflyTransform, method: str) -> None:
    """Refuse a real transform, whose untangling only Adam can learn.

    Raises:
        SpeechError: the transform is real.
    """
    if transform.real:
        raise SpeechError(
            f"`{method}` fits complex transforms only",
            "fit a real transform by `adam`",
        )
