"""When a kernel is used: mode, device, self-check, timing, and what is remembered."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from pathlib import Path

import mlx.core as mx
import pytest

from mlx_speech import backend
from mlx_speech.errors import SpeechError
from mlx_speech.metal_kernels import select
from mlx_speech.metal_kernels.choices import (
    Findings,
    KernelKey,
    Timing,
    cache_folder,
    device_identity,
)
from mlx_speech.metal_kernels.presence import pretend_metal

KEY = KernelKey("toy", "float32", (4, 8), "d1")
FAST, SLOW = Timing(1.0, 2.0), Timing(2.0, 1.0)


class Probe:
    """Counts how often a wrapper's two questions are asked."""

    def __init__(self, problem: str | Exception = "", timing: object = FAST) -> None:
        self.problem, self.timing_given = problem, timing
        self.checks = self.timings = 0

    def self_check(self) -> str:
        self.checks += 1
        if isinstance(self.problem, Exception):
            raise self.problem
        return self.problem

    def timing(self) -> Timing:
        self.timings += 1
        if isinstance(self.timing_given, Exception):
            raise self.timing_given
        assert isinstance(self.timing_given, Timing)
        return self.timing_given

    def ask(self, key: KernelKey = KEY) -> bool:
        return select.use_kernel(key, self.self_check, self.timing)

    @property
    def asked(self) -> tuple[int, int]:
        return self.checks, self.timings


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


def test_without_metal_nothing_is_even_asked(caplog: pytest.LogCaptureFixture) -> None:
    probe = Probe()
    assert not select.kernels_are_possible()
    assert not probe.ask()
    assert probe.asked == (0, 0)
    assert not caplog.records
    assert not cache_folder().exists()


def test_on_without_metal_says_so_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("MLX_SPEECH_KERNELS", "on")
    assert not Probe().ask()
    assert not Probe().ask()
    assert [r.levelno for r in caplog.records] == [logging.WARNING]
    assert "no Metal device" in caplog.text


@pytest.mark.parametrize("ask", [select.kernels_are_possible, Probe().ask])
def test_an_unknown_mode_is_refused(
    monkeypatch: pytest.MonkeyPatch, ask: object
) -> None:
    monkeypatch.setenv("MLX_SPEECH_KERNELS", "yes")
    with pytest.raises(SpeechError, match="MLX_SPEECH_KERNELS is 'yes'") as caught:
        ask()  # type: ignore[operator]
    assert caught.value.hint == "set it to one of off, on, auto"


@pytest.mark.usefixtures("metal")
def test_a_kernel_that_agrees_and_is_ahead_is_used(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    probe = Probe()
    assert probe.ask()
    assert probe.ask()
    assert probe.asked == (1, 1)
    select.forget()  # the file remembers
    assert probe.ask()
    assert probe.asked == (1, 1)
    stored = json.loads((cache_folder() / "kernels.json").read_text())
    assert list(stored["devices"]) == [device_identity()]
    assert "pretended, mlx " in device_identity()
    assert [p.name for p in cache_folder().iterdir()] == ["kernels.json"]


@pytest.mark.usefixtures("metal")
def test_a_slower_kernel_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    for timing in (SLOW, Timing(1.0, 1.0), Timing(0.98, 1.0)):
        select.forget()
        (cache_folder() / "kernels.json").unlink(missing_ok=True)
        assert not Probe(timing=timing).ask()


@pytest.mark.usefixtures("metal")
def test_each_size_is_timed_and_each_variant_checked() -> None:
    probe = Probe()
    for shape in ((4, 8), (4, 9), (4, 8)):
        probe.ask(KernelKey("toy", "float32", shape, "d1"))
    assert probe.asked == (1, 2)
    probe.ask(KernelKey("toy", "float16", (4, 8), "d1"))
    assert probe.asked == (2, 3)
    probe.ask(KernelKey("toy", "float32", (4, 8), "another text"))
    assert probe.asked == (3, 4)


@pytest.mark.usefixtures("metal")
def test_off_asks_nothing_and_on_only_the_self_check(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    probe = Probe(timing=SLOW)
    monkeypatch.setenv("MLX_SPEECH_KERNELS", "off")
    assert not probe.ask()
    assert probe.asked == (0, 0)
    monkeypatch.setenv("MLX_SPEECH_KERNELS", "on")
    assert probe.ask()
    assert probe.asked == (1, 0)
    assert not Probe("wrong").ask(KernelKey("other", "float32", (1,), "d1"))


@pytest.mark.usefixtures("metal")
@pytest.mark.parametrize(
    ("problem", "said"),
    [
        ("the results differ", "the results differ"),
        (RuntimeError("does not compile"), "does not run: does not compile"),
        (ValueError("too many threads"), "does not run: too many threads"),
    ],
)
def test_a_failed_self_check_is_said_once_and_remembered(
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    problem: str | Exception,
    said: str,
) -> None:
    probe = Probe(problem)
    assert not probe.ask()
    assert not probe.ask()
    assert len(caplog.records) == 1
    assert said in caplog.text
    assert "kernel toy (float32)" in caplog.text
    select.forget()
    assert not probe.ask()
    assert probe.asked == (1, 0)
    assert len(caplog.records) == 2  # another process says it again


@pytest.mark.usefixtures("metal")
def test_a_size_that_cannot_run_is_left_to_mlx(
    caplog: pytest.LogCaptureFixture,
) -> None:
    assert not Probe(timing=ValueError("does not fit")).ask()
    assert "does not fit" in caplog.text
    assert Probe().ask(KernelKey("toy", "float32", (1, 1), "d1"))


@pytest.mark.usefixtures("metal")
def test_a_fault_of_ours_is_not_swallowed() -> None:
    with pytest.raises(ZeroDivisionError):
        Probe(ZeroDivisionError()).ask()


def test_another_macos_brings_another_compiler(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    probe = Probe()
    with pretend_metal("one"):
        for release, asked in (("15.1", (1, 1)), ("15.2", (2, 2)), ("15.1", (2, 2))):
            system = release, ("", "", ""), "arm64"
            monkeypatch.setattr("platform.mac_ver", lambda system=system: system)
            select.forget()  # as another process
            assert probe.ask()
            assert probe.asked == asked


@pytest.mark.usefixtures("metal")
def test_on_takes_a_kept_self_check_and_runs_none_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    wrong = KernelKey("wrong", "float32", (1,), "d1")
    assert Probe(timing=SLOW).ask() is False
    assert Probe("it is wrong").ask(wrong) is False
    monkeypatch.setenv("MLX_SPEECH_KERNELS", "on")
    select.forget()
    probe = Probe()
    assert probe.ask()  # though it was found slower
    assert not probe.ask(wrong)
    assert probe.asked == (0, 0)


@pytest.mark.usefixtures("metal")
def test_a_timing_that_did_not_run_is_tried_by_the_next_process() -> None:
    assert not Probe(timing=RuntimeError("no memory")).ask()
    assert not Probe().ask()  # this process has decided
    select.forget()
    probe = Probe()
    assert probe.ask()
    assert probe.asked == (0, 1)


def test_devices_do_not_share_findings() -> None:
    probe = Probe()
    for name, asked in (("one", (1, 1)), ("two", (2, 2)), ("one", (2, 2))):
        with pretend_metal(name):
            assert probe.ask()
        assert probe.asked == asked


def test_two_processes_keep_each_others_findings(tmp_path: Path) -> None:
    path = tmp_path / "kernels.json"
    other = KernelKey("other", "float16", (2,), "d2")
    first, second = Findings(path, "device"), Findings(path, "device")
    first.record_check(KEY, "")
    second.record_timing(other, FAST)
    Findings(path, "another device").record_check(KEY, "wrong")
    merged = Findings(path, "device")
    assert merged.check(KEY) == ""
    assert merged.timing(other) == FAST
    assert merged.check(other) is None
    assert merged.timing(KEY) is None
    assert Findings(path, "another device").check(KEY) == "wrong"


@pytest.mark.usefixtures("metal")
@pytest.mark.parametrize(
    "content",
    [
        *("", "[]", "{]", '{"format": 0, "devices": 3}'),
        *('{"format": 1, "devices": 3}', '{"format": 1, "devices": {"HERE": []}}'),
        '{"format": 1, "devices": {"HERE": {"checks": 1, "timings": {"KEY": [1]}}}}',
        '{"format": 1, "devices": {"HERE": {"timings": {"KEY": ["a", null]}}}}',
    ],
)
def test_a_damaged_cache_counts_as_empty(content: str) -> None:
    cache_folder().mkdir()
    content = content.replace("HERE", device_identity()).replace("KEY", KEY.name)
    (cache_folder() / "kernels.json").write_text(content)
    probe = Probe()
    assert probe.ask()
    assert probe.asked == (1, 1)


@pytest.mark.usefixtures("metal")
def test_a_cache_that_cannot_be_written_is_said(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("MLX_SPEECH_CACHE", str(tmp_path / "file"))
    assert Probe().ask()
    assert "is not kept" in caplog.text


def test_the_cache_lies_where_the_system_keeps_caches(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("MLX_SPEECH_CACHE")
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr("platform.system", lambda: "Linux")
    assert cache_folder() == tmp_path / ".cache" / "mlx-speech"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "x"))
    assert cache_folder() == tmp_path / "x" / "mlx-speech"
    monkeypatch.setattr("platform.system", lambda: "Darwin")
    assert cache_folder() == tmp_path / "Library" / "Caches" / "mlx-speech"


def test_differences_are_relative_to_the_largest_value() -> None:
    expected = [mx.array([100.0, 0.0]), mx.array([1.0])]
    close = [mx.array([100.0, 0.01]), mx.array([1.0])]
    assert select.difference(close, expected, 2e-4) == ""
    assert "1.0e-04, more than 5.0e-05" in select.difference(close, expected, 5e-5)
    assert "shapes" in select.difference([mx.array([1.0])], expected, 1.0)
    complex_ones = mx.ones((3,), mx.complex64)
    assert select.difference([complex_ones * 1j], [complex_ones], 0.1)
    assert select.difference([complex_ones], [complex_ones], 0.0) == ""


@pytest.mark.parametrize("place", [0, 1])
def test_a_result_that_is_not_a_number_differs(place: int) -> None:
    expected = [mx.ones((2,)), mx.ones((2,))]
    found = list(expected)
    found[place] = mx.array([1.0, mx.nan])
    assert "nan" in select.difference(found, expected, 1e9)


def test_both_ways_are_timed_in_turn() -> None:
    calls = []

    def way(name: str) -> mx.array:
        calls.append(name)
        return mx.ones((2,))

    timing = select.time_both(lambda: way("kernel"), lambda: way("mlx"), repeats=3)
    assert calls == ["kernel", "mlx"] * 5
    assert timing.kernel > 0
    assert timing.operations > 0
