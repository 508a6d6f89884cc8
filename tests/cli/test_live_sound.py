"""The sound of a microphone: gaps, reports, silence, and a device that is gone."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import numpy as np
import pytest

from mlx_speech.cli import live_sound
from mlx_speech.cli.live_sound import MicrophoneSound, RecordedSound
from mlx_speech.errors import SpeechError

RATE = 1000


class Listening:
    """A microphone of 1 kHz, of which at most 10 s wait, and what it warns of."""

    def __init__(self, wanted_rate: int = RATE) -> None:
        self.warnings: list[str] = []
        self.sound = MicrophoneSound(
            "USB", RATE, wanted_rate, 10.0, self.warnings.append
        )

    def play(self, seconds: float, value: float = 0.1, status: str = "") -> None:
        for _ in range(round(10 * seconds)):
            self.sound.hear(np.full((100, 2), value, np.float32), 100, None, status)

    def stretches(self) -> list[tuple[float, float]]:
        """Start and length of all stretches, in seconds."""
        return [
            (each.start, sum(map(len, each.blocks)) / RATE)
            for each in self.sound.stretches()
        ]


@pytest.fixture
def listening(monkeypatch: pytest.MonkeyPatch) -> Listening:
    monkeypatch.setattr(live_sound, "POLL_SECONDS", 0.002)
    return Listening()


def test_sound_without_a_gap_is_one_stretch(listening: Listening) -> None:
    listening.play(8.0)
    assert listening.sound.behind == pytest.approx(8.0)
    listening.sound.stop()
    assert listening.stretches() == [(0.0, 8.0)]
    assert (listening.warnings, listening.sound.losses()) == ([], [])
    assert listening.sound.failure is None


def test_a_stretch_ends_where_sound_was_dropped(listening: Listening) -> None:
    listening.play(3.0)
    stretches = listening.sound.stretches()
    first = next(stretches)
    assert len(next(first.blocks)) == 100
    # 0.1 s is heard already; one block more than 10 s drops what is older than 5 s.
    listening.play(7.2)
    assert listening.sound.behind == pytest.approx(5.0)
    listening.sound.stop()
    assert (first.start, sum(map(len, first.blocks))) == (0.0, 0)
    (second,) = stretches_of(stretches)
    assert second == (pytest.approx(5.2), pytest.approx(5.0))
    assert listening.warnings == [
        "5.1 s of sound are left out: the model was more than 10 s behind "
        "(--max-behind)"
    ]
    (loss,) = listening.sound.losses()
    assert loss.startswith("5.1 s of sound were left out: the model")


def stretches_of(stretches: Iterator[live_sound.Stretch]) -> list[tuple[float, float]]:
    return [(each.start, sum(map(len, each.blocks)) / RATE) for each in stretches]


def test_losses_add_up_over_their_places(listening: Listening) -> None:
    listening.play(10.1)
    stretches = listening.sound.stretches()
    first = next(stretches)
    next(first.blocks)
    listening.play(10.0)
    listening.sound.stop()
    assert sum(map(len, first.blocks)) == 0
    rest = stretches_of(stretches)
    (loss,) = listening.sound.losses()
    heard = 0.1 + sum(length for _, length in rest)
    assert loss.startswith(f"{20.1 - heard:.1f} s of sound in 2 places were left out")
    assert len(listening.warnings) == 2


def test_all_of_a_resampled_stretch_comes(listening: Listening) -> None:
    listening = Listening(wanted_rate=1600)
    listening.play(2.0)
    listening.sound.stop()
    (stretch,) = listening.sound.stretches()
    assert sum(map(len, stretch.blocks)) == pytest.approx(3200, abs=2)


def test_what_the_device_reports_is_said_once_and_counted(listening: Listening) -> None:
    listening.play(0.2)
    listening.play(0.3, status="input overflow")
    listening.play(0.1, status="input underflow, input overflow")
    listening.sound.stop()
    assert listening.stretches() == [(0.0, pytest.approx(0.6))]
    (warning,) = listening.warnings
    assert warning.startswith("the microphone reports input overflow")
    assert listening.sound.losses() == [
        "the microphone reported input overflow 4 times: sound is missing",
        "the microphone reported input underflow once: sound is missing",
    ]


def test_nothing_but_zeros_is_said_once_until_there_is_sound(
    listening: Listening,
) -> None:
    for _ in range(2):
        listening.play(4.9, 0.0)
        listening.play(0.1)
    listening.sound.stop()
    listening.stretches()
    assert listening.warnings == []
    listening = Listening()
    listening.play(9.0, 0.0)
    listening.sound.stop()
    listening.stretches()
    (warning,) = listening.warnings
    assert "has given nothing but zeros for 5 s" in warning


def test_nothing_is_taken_after_a_stop(listening: Listening) -> None:
    listening.play(1.0)
    listening.sound.stop()
    listening.play(1.0)
    assert listening.stretches() == [(0.0, 1.0)]


def test_a_device_that_ends_is_told_after_what_came(listening: Listening) -> None:
    listening.sound.is_active = lambda: False
    listening.play(1.0)
    assert listening.stretches() == [(0.0, 1.0)]
    failure = listening.sound.failure
    assert failure is not None
    assert failure.message == "the microphone `USB` has stopped"
    assert "--list-devices" in failure.hint


def test_a_device_that_cannot_be_asked_is_gone(listening: Listening) -> None:
    def refuse() -> bool:
        raise OSError("Invalid stream pointer")

    listening.sound.is_active = refuse
    assert listening.stretches() == []
    failure = listening.sound.failure
    assert failure is not None
    assert failure.message.endswith("has stopped: Invalid stream pointer")


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (1.0, "the microphone `USB` is gone: nothing has come from it for 0.032 s"),
        (0.0, "nothing comes from the microphone `USB`, not for 0.08 s"),
    ],
)
def test_a_device_that_goes_quiet_is_gone(
    listening: Listening, seconds: float, said: str
) -> None:
    listening.play(seconds)
    assert sum(length for _, length in listening.stretches()) == seconds
    failure = listening.sound.failure
    assert failure is not None
    assert failure.message == said


def test_a_pause_of_the_device_is_waited_out(
    listening: Listening, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live_sound, "POLL_SECONDS", 0.1)

    def play() -> None:
        for _ in range(2):
            time.sleep(0.3)
            listening.play(0.5)
        listening.sound.stop()

    player = threading.Thread(target=play)
    player.start()
    assert listening.stretches() == [(0.0, 1.0)]
    player.join()
    assert listening.sound.failure is None


def test_a_few_seconds_are_what_a_device_may_be_quiet() -> None:
    assert 2 <= live_sound.QUIET_POLLS * live_sound.POLL_SECONDS <= 5
    assert live_sound.FIRST_QUIET_POLLS * live_sound.POLL_SECONDS <= 10


def test_a_recording_is_heard_up_to_its_damage() -> None:
    def blocks() -> Iterator[np.ndarray]:
        yield np.ones(100, np.float32)
        raise SpeechError("it is damaged")

    sound = RecordedSound(blocks())
    (stretch,) = sound.stretches()
    assert sum(map(len, stretch.blocks)) == 100
    assert sound.failure is not None and sound.failure.message == "it is damaged"


def test_a_recording_can_be_stopped() -> None:
    sound = RecordedSound(np.ones((5, 100), np.float32))
    (stretch,) = sound.stretches()
    next(stretch.blocks)
    sound.stop()
    assert list(stretch.blocks) == []
    assert sound.failure is None
