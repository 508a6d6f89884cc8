"""The training loop and what belongs to it; knows no model."""

from __future__ import annotations

from mlx_speech.training.config import (
    config_keys,
    dump_config,
    load_config,
    parse_flags,
    setting,
)
from mlx_speech.training.ema import ExponentialMovingAverage
from mlx_speech.training.interrupt import TrainingInterrupted
from mlx_speech.training.keeper import TrainingDiverged
from mlx_speech.training.loop import run_training
from mlx_speech.training.optim import (
    GroupedAdamW,
    ParameterGroup,
    freeze_parts,
    gradient_norm,
)
from mlx_speech.training.runfolder import (
    RunFolder,
    check_run_folder,
    prepare_run_folder,
)
from mlx_speech.training.settings import LoopSettings
from mlx_speech.training.task import (
    Best,
    Observer,
    StepReport,
    TrainingResult,
    TrainingTask,
    ValidationReport,
)

__all__ = [
    "Best",
    "ExponentialMovingAverage",
    "GroupedAdamW",
    "LoopSettings",
    "Observer",
    "ParameterGroup",
    "RunFolder",
    "StepReport",
    "TrainingDiverged",
    "TrainingInterrupted",
    "TrainingResult",
    "TrainingTask",
    "ValidationReport",
    "check_run_folder",
    "config_keys",
    "dump_config",
    "freeze_parts",
    "gradient_norm",
    "load_config",
    "parse_flags",
    "prepare_run_folder",
    "run_training",
    "setting",
]
