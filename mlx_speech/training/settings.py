"""How long a run lasts and how often it reports; one dataclass for config files."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

from mlx_speech.errors import SpeechError
from mlx_speech.training.config import setting


@dataclass(frozen=True)
class LoopSettings:
    """Settings of ``run_training``; each field's help says what it does."""

    max_steps: int | None = setting(
        None, "stop after this many steps, resumed ones included"
    )
    max_epochs: int | None = setting(None, "stop after this many passes over the data")
    seed: int = setting(0, "of initial weights, data order and dropout")
    log_every: int = setting(1, "steps between two lines of metrics.jsonl")
    validate_every: int = setting(200, "steps between two validations; 0 for none")
    sample_every: int = setting(200, "steps between two sets of samples; 0 for none")
    checkpoint_every: int = setting(
        200, "steps between two checkpoints; 0 for only the last one"
    )
    checkpoint_minutes: float = setting(
        10.0, "write a checkpoint when the last one is older than this; 0 for never"
    )
    keep: int = setting(3, "checkpoints that stay on disk, besides the best one")
    best_metric: str | None = setting(
        None, "validation metric whose lowest value marks the best checkpoint"
    )
    export: str = setting("last", "which weights the model folder gets: last or best")
    divergence_factor: float = setting(
        100.0, "a loss this many times its early level stops the run; 0 for never"
    )
    divergence_patience: int = setting(20, "for so many steps in a row")

    @classmethod
    def among(cls, settings: Any, best_metric: str) -> LoopSettings:
        """Those that stand among the settings of a training, under the same names.

        Args:
            settings: a dataclass.
            best_metric: as here.
        """
        names = {each.name for each in fields(cls)} & {e.name for e in fields(settings)}
        shared = {name: getattr(settings, name) for name in names}
        return cls(**shared | {"best_metric": best_metric})

    def require_end(self) -> None:
        """Refuse settings under which a run would never end.

        Not in ``__post_init__``, so that the defaults can stand in a configuration.
        """
        if self.max_steps is None and self.max_epochs is None:
            raise SpeechError(
                "a run needs an end", "set `max_steps` or `max_epochs` or both"
            )

    def __post_init__(self) -> None:
        positive = ("max_steps", "max_epochs", "log_every", "keep")
        for name in (*positive, "divergence_patience"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise SpeechError(f"`{name}` must be at least 1, not {value}")
        for name in (
            "seed",
            "validate_every",
            "sample_every",
            "checkpoint_every",
            "checkpoint_minutes",
            "divergence_factor",
        ):
            # Written so that NaN is refused too.
            if not getattr(self, name) >= 0:
                raise SpeechError(
                    f"`{name}` must not be negative, not {getattr(self, name)}"
                )
        if self.seed >= 2**63:
            raise SpeechError(f"`seed` must be below 2^63, not {self.seed}")
        if self.export not in ("last", "best"):
            raise SpeechError(f"`export` must be last or best, not `{self.export}`")
        if self.export == "best" and not (self.best_metric and self.validate_every):
            raise SpeechError(
                "`export: best` needs a validation to choose by",
                "set `validate_every`, or `export` to last",
            )
