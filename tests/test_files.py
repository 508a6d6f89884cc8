"""Files and folders are written whole or not at all, and refusals are explained."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from mlx_speech import files
from mlx_speech.errors import SpeechError
from mlx_speech.files import replacing_file, replacing_folder

Writer = Callable[[Path], AbstractContextManager[Path]]


def everything_in(folder: Path) -> dict[str, str]:
    """Every file below ``folder``, hidden ones too, with its content."""
    return {
        str(path.relative_to(folder)): path.read_text()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder `voice` of two files, one of them nested."""
    (tmp_path / "voice" / "inner").mkdir(parents=True)
    (tmp_path / "voice" / "a.txt").write_text("old a")
    (tmp_path / "voice" / "inner" / "b.txt").write_text("old b")
    return tmp_path / "voice"


def test_a_file_appears_complete_and_alone(tmp_path: Path) -> None:
    target = tmp_path / "new" / "deep" / "sound ü.wav"
    with replacing_file(target) as temporary:
        assert temporary.parent == target.parent
        assert temporary.suffix == ".wav"
        temporary.write_text("content")
        assert not target.exists()
    assert everything_in(tmp_path) == {"new/deep/sound ü.wav": "content"}


def test_an_exception_leaves_the_old_file(tmp_path: Path) -> None:
    target = tmp_path / "a.txt"
    target.write_text("old")
    with pytest.raises(ZeroDivisionError), replacing_file(target) as temporary:
        temporary.write_text("half of the n")
        raise ZeroDivisionError
    assert everything_in(tmp_path) == {"a.txt": "old"}


def test_a_folder_is_replaced_as_a_whole(folder: Path) -> None:
    with replacing_folder(folder) as temporary:
        (temporary / "c.txt").write_text("new c")
        assert (folder / "a.txt").read_text() == "old a"
    assert everything_in(folder.parent) == {"voice/c.txt": "new c"}


def test_a_folder_appears_in_a_missing_one(tmp_path: Path) -> None:
    with replacing_folder(tmp_path / "not yet" / "voice") as temporary:
        (temporary / "c.txt").write_text("new c")
    assert everything_in(tmp_path) == {"not yet/voice/c.txt": "new c"}


def test_an_exception_leaves_the_old_folder(folder: Path) -> None:
    before = everything_in(folder.parent)
    with pytest.raises(ZeroDivisionError), replacing_folder(folder) as temporary:
        (temporary / "c.txt").write_text("new c")
        raise ZeroDivisionError
    assert everything_in(folder.parent) == before
    assert os.listdir(folder.parent) == ["voice"]


def test_the_old_folder_comes_back_when_the_new_one_cannot_be_moved(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = everything_in(folder.parent)
    replace = os.replace

    def refuse_the_new(source: Path, target: Path) -> None:
        if str(source).endswith(".partial"):
            raise OSError(errno.EPERM, os.strerror(errno.EPERM))
        replace(source, target)

    monkeypatch.setattr(files.os, "replace", refuse_the_new)
    with pytest.raises(SpeechError), replacing_folder(folder) as temporary:
        (temporary / "c.txt").write_text("new c")
    assert everything_in(folder.parent) == before
    assert os.listdir(folder.parent) == ["voice"]


@pytest.mark.parametrize("writer", ["replacing_file", "replacing_folder"])
def test_a_killed_writer_leaves_the_old_content(folder: Path, writer: str) -> None:
    target = folder / "a.txt" if writer == "replacing_file" else folder
    code = (
        "import os, signal, sys\n"
        f"from mlx_speech.files import {writer}\n"
        f"with {writer}(sys.argv[1]) as temporary:\n"
        "    temporary = temporary / 'a.txt' if temporary.is_dir() else temporary\n"
        "    temporary.write_text('half of the n')\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(target)], check=False)
    assert done.returncode == -signal.SIGKILL
    assert (folder / "a.txt").read_text() == "old a"
    assert (folder / "inner" / "b.txt").read_text() == "old b"
    # What a killed process leaves is hidden, and the next writer is not disturbed.
    strangers = set(os.listdir(folder)) | set(os.listdir(folder.parent))
    assert {n for n in strangers if n[0] != "."} == {"voice", "a.txt", "inner"}
    with replacing_folder(folder) as temporary:
        (temporary / "c.txt").write_text("new c")
    assert everything_in(folder) == {"c.txt": "new c"}


@pytest.mark.parametrize("writer", [replacing_file, replacing_folder])
@pytest.mark.parametrize(
    ("number", "said", "advice"),
    [
        (errno.ENOSPC, "no space left on the disk while writing", "free some space"),
        (errno.EDQUOT, "no space left on the disk while writing", "free some space"),
        (errno.EACCES, "cannot be written: Permission denied", "you may write to"),
        (errno.EROFS, "cannot be written: Read-only file system", "you may write to"),
        (errno.EBUSY, "cannot be written: Device or resource busy", "you may write to"),
    ],
)
def test_a_full_or_forbidden_disk_is_explained(
    tmp_path: Path, writer: Writer, number: int, said: str, advice: str
) -> None:
    target = tmp_path / "voice"
    with pytest.raises(SpeechError) as caught, writer(target):
        raise OSError(number, os.strerror(number))
    assert said in caught.value.message
    assert str(target) in caught.value.message
    assert advice in caught.value.hint
    assert everything_in(tmp_path) == {}


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may write")
@pytest.mark.parametrize("writer", [replacing_file, replacing_folder])
def test_a_folder_without_write_permission_is_explained(
    tmp_path: Path, writer: Writer
) -> None:
    (tmp_path / "locked").mkdir(mode=0o500)
    with (
        pytest.raises(SpeechError, match="cannot be written"),
        writer(tmp_path / "locked" / "voice") as temporary,
    ):
        temporary.write_text("content")


@pytest.mark.parametrize("writer", [replacing_file, replacing_folder])
@pytest.mark.parametrize("inside", ["voice", "deep/voice"])
def test_a_file_in_the_place_of_a_parent_folder_is_explained(
    tmp_path: Path, writer: Writer, inside: str
) -> None:
    (tmp_path / "file").write_text("old")
    with (
        pytest.raises(SpeechError, match="cannot be written"),
        writer(tmp_path / "file" / inside) as temporary,
    ):
        temporary.write_text("content")
    assert everything_in(tmp_path) == {"file": "old"}


def test_a_folder_in_the_place_of_a_file_is_explained(folder: Path) -> None:
    before = everything_in(folder.parent)
    with (
        pytest.raises(SpeechError, match=r"voice` cannot be written: Is a directory"),
        replacing_file(folder) as temporary,
    ):
        temporary.write_text("content")
    assert everything_in(folder.parent) == before


def test_a_file_in_the_place_of_a_folder_is_kept(tmp_path: Path) -> None:
    (tmp_path / "voice").write_text("old")
    with (
        pytest.raises(SpeechError, match="is a file, not a folder"),
        replacing_folder(tmp_path / "voice"),
    ):
        pass
    assert everything_in(tmp_path) == {"voice": "old"}


@pytest.mark.parametrize("writer", [replacing_file, replacing_folder])
@pytest.mark.parametrize("path", [".", "..", "voice/..", "/"])
def test_what_has_no_name_of_its_own_is_refused(
    folder: Path, writer: Writer, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder.parent)
    before = everything_in(folder.parent)
    with pytest.raises(SpeechError, match="cannot be replaced"), writer(Path(path)):
        pass
    assert everything_in(folder.parent) == before


def test_other_errors_pass_unchanged(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), replacing_file(tmp_path / "a"):
        (tmp_path / "missing").read_text()
