"""Checkpoints: everything that a run needs to go on as if it had never stopped.

``checkpoints/00001000/`` holds one safetensors file per network, optimiser and
average, and ``state.json`` with the counters and the size of every file. A folder
appears whole (temporary folder, flush, rename) and disappears whole, so a run that is
killed at any moment finds its newest complete checkpoint again.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import mlx.core as mx
from mlx.utils import tree_flatten, tree_map_with_path

from mlx_speech.errors import SpeechError
from mlx_speech.files import replacing_folder
from mlx_speech.hub.load import load_safetensors
from mlx_speech.hub.save import save_safetensors
from mlx_speech.training.task import Best, TrainingTask

STATE_FILE = "state.json"
_NAME = re.compile(r"\d{8,}")


@dataclass(frozen=True)
class RunState:
    """The counters of a run after a finished step.

    Attributes:
        step: finished steps.
        epoch: the epoch that the last step belongs to, from 0.
        position: finished batches of that epoch.
        seed: of the run.
        batches_digest: fingerprint of that epoch's batches, to notice changed data.
        best: best validation so far.
        divergence: what the divergence watch has learnt.
        environment: versions and libraries that results depend on.
        record: what the caller wants remembered, for example its configuration.
    """

    step: int
    epoch: int
    position: int
    seed: int
    batches_digest: str
    best: Best | None = None
    divergence: Mapping[str, Any] = field(default_factory=dict)
    environment: Mapping[str, Any] = field(default_factory=dict)
    record: Mapping[str, Any] = field(default_factory=dict)


def folder_name(step: int) -> str:
    """Folder of a step's checkpoint or samples; sorts like the number."""
    return f"{step:08d}"


def save_checkpoint(folder: Path, task: TrainingTask, state: RunState) -> Path:
    """Write ``folder/<step>/`` as a whole and return it.

    Raises:
        SpeechError: the disk is full or the folder cannot be written; earlier
            checkpoints stay as they are.
    """
    target = folder / folder_name(state.step)
    with replacing_folder(target) as temporary:
        sizes = {}
        for name, arrays in _task_arrays(task).items():
            path = temporary / name
            save_safetensors(path, arrays)
            sizes[name] = path.stat().st_size
        content = {**asdict(state), "files": sizes}
        text = json.dumps(content, indent=2, sort_keys=True)
        (temporary / STATE_FILE).write_text(text + "\n", encoding="utf-8")
    return target


def complete_checkpoints(folder: Path) -> list[Path]:
    """Complete checkpoints under ``folder``, oldest first."""
    if not folder.is_dir():
        return []
    found = [path for path in folder.iterdir() if _NAME.fullmatch(path.name)]
    return sorted((p for p in found if _is_complete(p)), key=lambda p: int(p.name))


def latest_checkpoint(folder: Path) -> Path | None:
    """The newest complete checkpoint under ``folder``, or None."""
    complete = complete_checkpoints(folder)
    return complete[-1] if complete else None


def read_state(checkpoint: Path) -> RunState:
    """The counters of a checkpoint.

    Raises:
        SpeechError: the file is absent, is not a run's state, or is of a version of
            this package that kept other counters.
    """
    content = _read_json(checkpoint)
    if content is None:
        raise SpeechError(
            f"`{checkpoint / STATE_FILE}` is not a readable training state",
            "choose another checkpoint",
        )
    content.pop("files")
    best = content.pop("best")
    try:
        return RunState(**content, best=Best(**best) if best else None)
    except TypeError as error:
        raise SpeechError(
            f"`{checkpoint / STATE_FILE}` is of another version: {error}",
            "go on with the mlx-speech that wrote it, or choose another checkpoint",
        ) from error


def load_checkpoint(checkpoint: Path, task: TrainingTask) -> RunState:
    """Restore networks, optimisers and averages of ``task`` from ``checkpoint``.

    Nothing of the task changes unless every file fits.

    Raises:
        SpeechError: a file is absent or damaged, or its keys, shapes or types are not
            those of the task; the differences are named.
    """
    state = read_state(checkpoint)
    loaded = {
        name: _load_arrays(checkpoint / name, expected)
        for name, expected in _task_arrays(task).items()
    }
    for name, network in task.networks.items():
        network.load_weights(list(loaded[f"{name}.safetensors"].items()))
    for name, optimizer in task.optimizers.items():
        arrays = loaded[f"optimizer_{name}.safetensors"]
        optimizer.state = _filled(optimizer.state, arrays)
    for name, average in task.averages.items():
        arrays = loaded[f"average_{name}.safetensors"]
        average.state = _filled(average.state, arrays)
    return state


def prune_checkpoints(folder: Path, keep: int, best_step: int | None) -> None:
    """Remove all but the newest ``keep`` checkpoints and the best one."""
    complete = complete_checkpoints(folder)
    for path in complete[: max(len(complete) - keep, 0)]:
        if best_step is None or int(path.name) != best_step:
            # Renamed first: a kill while deleting must not leave half a checkpoint.
            retired = path.with_name(f".{path.name}.00000000.retired")
            path.rename(retired)
            shutil.rmtree(retired)


def all_arrays(task: TrainingTask) -> dict[str, mx.array]:
    """Every array of the task's state by "file/key", for evaluation and checks."""
    return {
        f"{Path(name).stem}/{key}": value
        for name, arrays in _task_arrays(task).items()
        for key, value in arrays.items()
    }


def _task_arrays(task: TrainingTask) -> dict[str, dict[str, mx.array]]:
    trees: dict[str, Any] = {}
    for name, network in task.networks.items():
        trees[f"{name}.safetensors"] = network.parameters()
    for name, optimizer in task.optimizers.items():
        trees[f"optimizer_{name}.safetensors"] = optimizer.state
    for name, average in task.averages.items():
        trees[f"average_{name}.safetensors"] = average.state
    return {name: dict(tree_flatten(tree)) for name, tree in trees.items()}


def _filled(tree: Any, arrays: Mapping[str, mx.array]) -> Any:
    # Filled in place of the present tree: flattening loses empty branches.
    return tree_map_with_path(lambda path, _: arrays[path], tree)


def _load_arrays(path: Path, expected: Mapping[str, mx.array]) -> dict[str, mx.array]:
    if not path.is_file():
        raise SpeechError(f"the checkpoint lacks `{path}`", "choose another checkpoint")
    arrays = load_safetensors(path)
    # MLX reads lazily; pruning may remove the file before an array is used.
    mx.eval(arrays)
    differences = describe_differences(expected, arrays)
    if differences:
        raise SpeechError(
            f"`{path}` does not fit this model: {differences}",
            "resume with the configuration that the run was started with",
        )
    return arrays


def describe_differences(
    expected: Mapping[str, mx.array], found: Mapping[str, mx.array], most: int = 5
) -> str:
    """Which keys, shapes and types differ, in words; "" when none do."""
    missing = sorted(expected.keys() - found.keys())
    extra = sorted(found.keys() - expected.keys())
    changed = [
        f"{key} is {_kind(found[key])} instead of {_kind(expected[key])}"
        for key in sorted(expected.keys() & found.keys())
        if _kind(expected[key]) != _kind(found[key])
    ]
    parts = []
    for label, items in (("missing", missing), ("extra", extra), ("", changed)):
        if items:
            more = f" and {len(items) - most} more" if len(items) > most else ""
            parts.append(f"{label} {', '.join(items[:most])}{more}".strip())
    return "; ".join(parts)


def _kind(array: mx.array) -> str:
    return f"{str(array.dtype).removeprefix('mlx.core.')}{list(array.shape)}"


def _is_complete(path: Path) -> bool:
    content = _read_json(path)
    if content is None:
        return False
    for name, size in content["files"].items():
        file = path / name
        if not file.is_file() or file.stat().st_size != size:
            return False
    return True


def _read_json(path: Path) -> dict[str, Any] | None:
    try:
        content = json.loads((path / STATE_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    if not isinstance(content, dict) or not {"step", "best"} <= content.keys():
        return None
    return content if isinstance(content.get("files"), dict) else None
