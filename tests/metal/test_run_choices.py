"""A training's kernel choices are made once and hold after it was resumed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from mlx_speech import backend
from mlx_speech.errors import SpeechError
from mlx_speech.metal_kernels import select
from mlx_speech.metal_kernels.choices import KernelKey, Timing
from mlx_speech.metal_kernels.presence import pretend_metal

KEY = KernelKey("toy", "float32", (4, 8), "d1")
OTHER = KernelKey("toy", "float32", (9, 9), "d1")


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("MLX_SPEECH_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("MLX_SPEECH_KERNELS", raising=False)
    # On a Mac too, the device is the pretended one or none.
    monkeypatch.setattr(backend, "on_metal", lambda: False)
    select.forget()


@pytest.fixture
def metal() -> Iterator[None]:
    with pretend_metal("pretended"):
        yield


def ask(key: KernelKey = KEY, ahead: bool = True, problem: str = "") -> bool:
    """Decide, as on a machine where the kernel is ahead, or has a problem."""
    timing = Timing(1.0, 2.0) if ahead else Timing(2.0, 1.0)
    return select.use_kernel(key, lambda: problem, lambda: timing)


@pytest.mark.usefixtures("metal")
@pytest.mark.parametrize("ahead", [True, False])
def test_a_resumed_run_decides_as_before(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, ahead: bool
) -> None:
    path = tmp_path / "run" / "kernels.json"
    with select.fixed_choices(path, resume=False):
        assert ask(ahead=ahead) is ahead
        assert json.loads(path.read_text())["choices"] == {KEY.name: ahead}
    # Another day the timing comes out the other way, and the cache is gone.
    monkeypatch.setenv("MLX_SPEECH_CACHE", str(tmp_path / "another"))
    select.forget()
    with select.fixed_choices(path, resume=True):
        assert ask(ahead=not ahead) is ahead
        assert ask(OTHER, ahead=not ahead) is not ahead
    assert json.loads(path.read_text())["choices"] == {
        KEY.name: ahead,
        OTHER.name: not ahead,
    }
    assert ask(ahead=not ahead) is not ahead  # outside of the run


@pytest.mark.usefixtures("metal")
@pytest.mark.parametrize(("then", "now"), [("off", "on"), ("on", "off")])
def test_the_mode_of_the_start_holds(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, then: str, now: str
) -> None:
    path = tmp_path / "kernels.json"
    monkeypatch.setenv("MLX_SPEECH_KERNELS", then)
    with select.fixed_choices(path, resume=False):
        assert ask(ahead=False) is (then == "on")
    monkeypatch.setenv("MLX_SPEECH_KERNELS", now)
    with select.fixed_choices(path, resume=True) as run:
        assert run.mode == then
        assert ask(ahead=False) is (then == "on")


def test_a_run_that_started_without_metal_uses_no_kernel_later(tmp_path: Path) -> None:
    path = tmp_path / "kernels.json"
    with select.fixed_choices(path, resume=False):
        assert not ask()
    with pretend_metal("new machine"):
        assert ask()
        with select.fixed_choices(path, resume=True):
            assert not ask()


def test_a_run_that_loses_its_device_says_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "kernels.json"
    with pretend_metal("old machine"), select.fixed_choices(path, resume=False):
        assert ask()
    with select.fixed_choices(path, resume=True):
        assert not ask()
    assert "started with kernels on old machine" in caplog.text
    with pretend_metal("old machine"), select.fixed_choices(path, resume=True):
        assert ask()


@pytest.mark.usefixtures("metal")
def test_a_kernel_chosen_before_still_has_to_agree(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "kernels.json"
    with select.fixed_choices(path, resume=False):
        assert ask()
    monkeypatch.setenv("MLX_SPEECH_CACHE", str(tmp_path / "another"))
    select.forget()
    with select.fixed_choices(path, resume=True):
        assert not ask(problem="it is wrong here")
    assert "it is wrong here" in caplog.text


@pytest.mark.usefixtures("metal")
def test_a_new_run_takes_nothing_from_an_old_file(tmp_path: Path) -> None:
    path = tmp_path / "kernels.json"
    with select.fixed_choices(path, resume=False):
        ask()
    with select.fixed_choices(path, resume=False):
        assert json.loads(path.read_text())["choices"] == {}


@pytest.mark.usefixtures("metal")
def test_a_run_from_before_kernels_goes_on_without_them(tmp_path: Path) -> None:
    with select.fixed_choices(tmp_path / "kernels.json", resume=True):
        assert not ask()


@pytest.mark.parametrize("content", ["", "{}", '{"format": 1, "mode": "auto"}'])
def test_a_damaged_file_is_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "kernels.json"
    path.write_text(content)
    with (
        pytest.raises(SpeechError, match="does not hold the kernel choices"),
        select.fixed_choices(path, resume=True),
    ):
        pass
    assert path.read_text() == content
