"""What listening shows beside its captions."""

from __future__ import annotations

import pytest

from mlx_speech.cli.listening_screen import ListeningScreen
from mlx_speech.writers import Segment

Capture = pytest.CaptureFixture[str]


def test_how_far_it_is_behind_is_told_when_that_has_changed(capsys: Capture) -> None:
    screen = ListeningScreen(quiet=False, verbose=False)
    for seconds in (1.0, 4.9, 6.0, 7.0, 8.9, 9.0, 12.0, 30.0, 21.0, 19.0, 3.0, 0.5):
        screen.tell_behind(seconds)
    screen.tell_behind(0.5)
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines() == [
        "note: 6 s behind",
        "note: 9 s behind",
        "note: 30 s behind",
        "note: 19 s behind",
        "note: caught up",
    ]


def test_quiet_is_no_talk_but_what_is_wrong_is_said(capsys: Capture) -> None:
    screen = ListeningScreen(quiet=True, verbose=False)
    screen.tell_behind(30.0)
    screen.note("listening")
    assert capsys.readouterr() == ("", "")
    screen.warn("sound is left out")
    assert capsys.readouterr() == ("", "note: sound is left out\n")


@pytest.mark.parametrize(
    ("terminal", "out"), [(True, "so\n far\n"), (False, "so far\n")]
)
def test_talk_cuts_into_a_line_on_a_terminal_only(
    capsys: Capture, monkeypatch: pytest.MonkeyPatch, terminal: bool, out: str
) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: terminal, raising=False)
    screen = ListeningScreen(quiet=False, verbose=False)
    screen.write("so")
    screen.note("note: 9 s behind")
    screen.write(" far")
    screen.end_line()
    screen.end_line()
    assert capsys.readouterr() == (out, "note: 9 s behind\n")


def test_captions_are_lines_with_their_times_where_wanted(capsys: Capture) -> None:
    times_and_texts = [(61.5, 62.25, " Yes. "), (63.0, 64.0, " No.")]
    segments = [Segment(0, 0, *each) for each in times_and_texts]
    ListeningScreen(quiet=False, verbose=False).show(segments)
    assert capsys.readouterr().out == "Yes.\nNo.\n"
    ListeningScreen(quiet=False, verbose=True).show(segments)
    first, _ = capsys.readouterr().out.splitlines()
    assert first == "[01:01.500 --> 01:02.250]  Yes."
