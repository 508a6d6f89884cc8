"""metrics.jsonl and the loss curves."""

from __future__ import annotations

import builtins
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from mlx_speech.errors import SpeechError
from mlx_speech.training import Observer, run_training
from mlx_speech.training.report import MetricsLog, plot_losses, read_metrics


class Scripted(Observer):
    def __init__(self) -> None:
        self.notes: list[str] = []

    def on_note(self, text: str) -> None:
        self.notes.append(text)


def test_the_folder_holds_metrics_samples_curves_and_model(
    toy: ModuleType, tmp_path: Path
) -> None:
    run_training(toy.ToyTask(), toy.settings(), tmp_path / "run ä")
    root = tmp_path / "run ä"
    assert (root / "plots" / "loss.png").read_bytes().startswith(b"\x89PNG")
    assert (root / "samples" / "00000008" / "sample.txt").read_text() == "8"
    assert (root / "samples" / "00000016" / "sample.txt").read_text() == "16"
    assert (root / "model" / "model.safetensors").exists()
    lines = read_metrics(root / "metrics.jsonl")
    assert [line["step"] for line in lines if line["kind"] == "step"] == list(
        range(1, 17)
    )
    step = lines[0]
    assert set(step["metrics"]) == {"generator_loss", "discriminator_loss"}
    assert step["seconds"] > 0 and step["steps_per_second"] > 0
    assert step["peak_memory_bytes"] > 0


def test_without_matplotlib_one_line_says_so_once(
    toy: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = builtins.__import__

    def without(name: str, *arguments: Any, **keywords: Any) -> Any:
        if name.startswith("matplotlib"):
            raise ImportError(name)
        return real(name, *arguments, **keywords)

    monkeypatch.setattr(builtins, "__import__", without)
    observer = Scripted()
    run_training(toy.ToyTask(), toy.settings(), tmp_path, observer)
    assert len([note for note in observer.notes if "matplotlib" in note]) == 1
    assert not (tmp_path / "plots").exists()


def test_a_cut_last_line_is_skipped_and_another_broken_line_is_an_error(
    tmp_path: Path,
) -> None:
    path = tmp_path / "metrics.jsonl"
    log = MetricsLog(path, None)
    for step in (1, 2, 3):
        log.write("step", step, {"metrics": {"loss": step / 2}})
    path.write_text(path.read_text()[:-9])
    assert [line["step"] for line in read_metrics(path)] == [1, 2]
    MetricsLog(path, 1).write("step", 2, {"metrics": {}})
    assert [line["step"] for line in read_metrics(path)] == [1, 2]
    path.write_text("broken\n" + path.read_text())
    with pytest.raises(SpeechError, match="line 1"):
        read_metrics(path)


def test_every_metric_and_all_learning_rates_are_drawn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    figures = pytest.importorskip("matplotlib.figure")
    drawn: list[Any] = []
    save = figures.Figure.savefig

    def keep(figure: Any, *arguments: Any, **options: Any) -> None:
        drawn.append(figure)
        save(figure, *arguments, **options)

    monkeypatch.setattr(figures.Figure, "savefig", keep)
    log = MetricsLog(tmp_path / "metrics.jsonl", None)
    for step in (1, 2, 3):
        rates = {"generator": 0.1 / step, "generator.slow": 0.01 / step}
        values = {"metrics": {"loss": step / 2}, "learning_rates": rates}
        log.write("step", step, values)
    log.write("validation", 3, {"metrics": {"mcd": 7.0}})
    assert plot_losses(log.path, tmp_path / "plots" / "loss.png")
    (figure,) = drawn
    found = {
        axis.get_title(): {
            line.get_label(): (list(line.get_xdata()), list(line.get_ydata()))
            for line in axis.lines
        }
        for axis in figure.axes
    }
    assert found == {
        "loss": {"step": ([1, 2, 3], [0.5, 1.0, 1.5])},
        "learning rate": {
            "generator": ([1, 2, 3], [0.1, 0.05, 0.1 / 3]),
            "generator.slow": ([1, 2, 3], [0.01, 0.005, 0.01 / 3]),
        },
        "mcd (validation)": {"validation": ([3], [7.0])},
    }
    legends = {x.get_title(): x.get_legend() is not None for x in figure.axes}
    assert [title for title, shown in legends.items() if shown] == ["learning rate"]
