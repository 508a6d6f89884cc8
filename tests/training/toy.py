"""A small two-network regression task; also a script that trains it.

``python toy.py RUN_FOLDER MAX_STEPS [--resume] [--pause SECONDS]`` prints one line per
checkpoint and, like the command line, one error line and the error's exit code.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import numpy as np

import mlx_speech.backend  # noqa: F401  (OpenBLAS before MLX)
from mlx_speech.errors import SpeechError
from mlx_speech.training import (
    ExponentialMovingAverage,
    GroupedAdamW,
    LoopSettings,
    Observer,
    ParameterGroup,
    run_training,
)

import mlx.core as mx  # isort: skip
import mlx.nn as nn  # isort: skip
from mlx.utils import tree_flatten  # isort: skip

ITEMS, WIDTH = 22, 4


class Generator(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = [nn.Linear(WIDTH, 8), nn.Linear(8, 8)]
        self.drop = nn.Dropout(0.3)
        self.head = nn.Linear(8, 1)

    def __call__(self, x: mx.array) -> mx.array:
        for layer in self.body:
            x = self.drop(nn.relu(layer(x)))
        return self.head(x)


class ToyTask:
    """A generator learns y(x), a discriminator to tell its output from the truth."""

    def __init__(self, seed: int = 0, groups: bool = True, decay: float = 0.5) -> None:
        mx.random.seed(seed)
        self.seed = seed
        generator, discriminator = Generator(), nn.Linear(1, 1)
        self.networks = {"generator": generator, "discriminator": discriminator}
        body = ParameterGroup("body", ("body",), 0.003)
        self.optimizers = {
            "generator": GroupedAdamW(
                generator, 0.01, groups=(body,) if groups else (), decay=decay
            ),
            "discriminator": GroupedAdamW(discriminator, 0.01, decay=decay),
        }
        self.averages = {"generator": ExponentialMovingAverage(generator, 0.9)}
        generate = np.random.default_rng(7)
        self.x = generate.standard_normal((ITEMS, WIDTH)).astype(np.float32)
        self.y = np.sin(self.x).sum(1, keepdims=True).astype(np.float32)
        self.epochs: list[int] = []
        self.pause = 0.0
        self.poison: dict[int, float] = {}

    def start_epoch(self, epoch: int) -> None:
        self.epochs.append(epoch)
        for optimizer in self.optimizers.values():
            optimizer.set_epoch(epoch)

    def batches(self, epoch: int) -> list[list[int]]:
        order = np.random.default_rng((self.seed, epoch)).permutation(ITEMS)
        return [order[i : i + 4].tolist() for i in range(0, ITEMS, 4)]

    def load_batch(self, indices: list[int]) -> tuple[np.ndarray, np.ndarray]:
        return self.x[indices], self.y[indices]

    def step(
        self, batch: tuple[np.ndarray, np.ndarray], key: mx.array, step: int
    ) -> dict[str, mx.array]:
        x, y = mx.array(batch[0]), mx.array(batch[1])
        generator, discriminator = (
            self.networks["generator"],
            self.networks["discriminator"],
        )
        x = x + 0.01 * mx.random.normal(x.shape, key=key)

        def generator_loss(x: mx.array) -> tuple[mx.array, mx.array]:
            out = generator(x)
            loss = mx.mean(mx.square(out - y)) + 0.01 * mx.mean(
                mx.square(discriminator(out) - 1)
            )
            return loss * self.poison.get(step, 1.0), out

        def discriminator_loss(out: mx.array) -> mx.array:
            return mx.mean(mx.square(discriminator(y) - 1)) + mx.mean(
                mx.square(discriminator(out))
            )

        (loss, out), gradients = nn.value_and_grad(generator, generator_loss)(x)
        self.optimizers["generator"].update(generator, gradients)
        self.averages["generator"].update()
        dloss, dgradients = nn.value_and_grad(discriminator, discriminator_loss)(
            mx.stop_gradient(out)
        )
        self.optimizers["discriminator"].update(discriminator, dgradients)
        time.sleep(self.pause)
        return {"generator_loss": loss, "discriminator_loss": dloss}

    def validate(self, step: int) -> dict[str, float]:
        generator = self.networks["generator"]
        generator.eval()
        with self.averages["generator"].swapped(generator):
            error = mx.mean(mx.abs(generator(mx.array(self.x)) - mx.array(self.y)))
            value = float(error.item())
        generator.train()
        return {"error": value}

    def write_samples(self, folder: Path, step: int) -> None:
        (folder / "sample.txt").write_text(str(step))

    def export(self, folder: Path) -> None:
        weights = dict(tree_flatten(self.networks["generator"].parameters()))
        mx.save_safetensors(str(folder / "model.safetensors"), weights)


def settings(**changes: object) -> LoopSettings:
    values: dict = {
        "max_steps": 16,
        "validate_every": 4,
        "sample_every": 8,
        "checkpoint_every": 4,
        "checkpoint_minutes": 0,
        "keep": 3,
        "best_metric": "error",
    }
    return LoopSettings(**{**values, **changes})


class Printer(Observer):
    def on_checkpoint(self, folder: Path, step: int, best: bool) -> None:
        print(f"checkpoint {step}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("max_steps", type=int)
    parser.add_argument("--resume", action="store_true")
    parser.add_argument("--pause", type=float, default=0.0)
    options = parser.parse_args()
    task = ToyTask()
    task.pause = options.pause
    print("ready", flush=True)
    try:
        run_training(
            task,
            settings(
                max_steps=options.max_steps,
                checkpoint_every=1,
                validate_every=0,
                sample_every=0,
                keep=2,
            ),
            options.folder,
            Printer(),
            resume=options.resume,
        )
    except SpeechError as error:
        print(f"error: {error.message}", file=sys.stderr)
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main()
