"""Finding the recording that a line of metadata means, by name and never by guess."""

from __future__ import annotations

import os
import posixpath
import unicodedata
from pathlib import Path, PurePosixPath

from mlx_speech.errors import SpeechError

# In order of preference when one name exists in several formats: lossless first.
AUDIO_SUFFIXES = (
    ".wav",
    ".flac",
    ".aiff",
    ".aif",
    ".w64",
    ".rf64",
    ".caf",
    ".au",
    ".ogg",
    ".oga",
    ".opus",
    ".mp3",
    ".m4a",
    ".mp4",
    ".aac",
    ".m4b",
    ".webm",
    ".wma",
    ".amr",
    ".3gp",
    ".mov",
    ".mkv",
    ".avi",
)
# LJSpeech keeps its recordings in wavs/, Piper in wav/, small sets beside the list.
RECORDING_FOLDERS = ("wavs", "wav", "")


def is_recording(name: str) -> bool:
    """Whether a file name ends like audio, in upper or lower case."""
    return PurePosixPath(name).suffix.lower() in AUDIO_SUFFIXES


def without_audio_suffix(name: str) -> str:
    """``a/b.wav`` -> ``a/b``; a name that ends in no audio suffix stays as it is."""
    return str(PurePosixPath(name).with_suffix("")) if is_recording(name) else name


def leaves_folder(name: str) -> bool:
    """Whether a relative name is absolute or climbs out by ``..``.

    The test looks at the name alone: a link that the owner of the folder placed in
    it (``wavs -> /data/wavs``) is wanted, a name in a downloaded list is not trusted.
    """
    return posixpath.normpath(name).startswith(("/", "../"))


class RecordingFinder:
    """Looks up recordings below one folder, listing every directory only once.

    Names are compared in Unicode's composed form, so that a list written on one
    system finds the files that another system stored with split-off accents.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._listings: dict[Path, dict[str, Path]] = {}

    def find(self, name: str) -> Path | None:
        """The file that ``name`` means, or None.

        Args:
            name: a path relative to the folder, to its ``wavs/`` or its ``wav/``,
                with or without an audio suffix. Without one, the suffixes are tried
                in the order of ``AUDIO_SUFFIXES``.
        """
        wanted = PurePosixPath(posixpath.normpath(name))
        for place in RECORDING_FOLDERS:
            directory = self._folder / place / Path(*wanted.parts[:-1])
            files = self._listing(directory)
            exact = files.get(_composed(wanted.name))
            if exact is not None and is_recording(wanted.name):
                return exact
            for suffix in AUDIO_SUFFIXES:
                for spelled in (suffix, suffix.upper()):
                    found = files.get(_composed(wanted.name + spelled))
                    if found is not None:
                        return found
        return None

    def _listing(self, directory: Path) -> dict[str, Path]:
        if directory not in self._listings:
            # os.path.isdir also answers for names that no file system could hold.
            names = list_folder(directory) if os.path.isdir(directory) else []
            self._listings[directory] = {
                _composed(name): directory / name
                for name in names
                if is_recording(name)
            }
        return self._listings[directory]


def list_folder(folder: Path) -> list[str]:
    """The names in a folder, sorted, without hidden ones.

    Raises:
        SpeechError: the folder cannot be read.
    """
    try:
        return sorted(name for name in os.listdir(folder) if name[0] != ".")
    except OSError as error:
        raise SpeechError(
            f"`{folder}` cannot be read: {error.strerror}", "check its permissions"
        ) from error


def _composed(name: str) -> str:
    return unicodedata.normalize("NFC", name)
