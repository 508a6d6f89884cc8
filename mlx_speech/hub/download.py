"""Fetching a published model into the Hugging Face cache.

Only files that this project reads are fetched, of the several sets of weights in a
repository one. The cache is the one that every other program uses.
"""

from __future__ import annotations

import json
import re
import shutil
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from mlx_speech.errors import SpeechError
from mlx_speech.hub.load import INDEX_NAME, SINGLE_NAME
from mlx_speech.hub.names import Published

if TYPE_CHECKING:
    from huggingface_hub.hf_api import ModelInfo

Value = TypeVar("Value")

REACH_SECONDS = 5.0
REPORT_SECONDS = 0.2
CONFIG_NAME = "config.json"
# One file with all weights, the best known first; mlx-community has the other two.
WHOLE_WEIGHTS = (SINGLE_NAME, "weights.safetensors", "weights.npz")
WEIGHT_SUFFIXES = (".safetensors", ".npz", ".pt", ".pth", ".bin")
_SHARD = re.compile(r"model-\d+-of-\d+\.safetensors")
_SMALL_FILE = re.compile(
    r"(config|generation_config|preprocessor_config|added_tokens|special_tokens_map"
    r"|normalizer|vocab|tokenizer|tokenizer_config|tekken)\.json|merges\.txt|[\w-]+\.tiktoken"
)


@dataclass(frozen=True)
class Download:
    """How far a download is.

    Attributes:
        repo: ``owner/name``.
        done: bytes that have arrived; the first report has 0.
        total: bytes to fetch, known from the beginning.
    """

    repo: str
    done: int
    total: int


class Unreachable(Exception):
    """The hub gave no answer, or none that means anything; the text says why."""


def has_model(folder: Path) -> bool:
    """Whether a folder holds a config and all of its weights."""
    if not (folder / CONFIG_NAME).is_file():
        return False
    if any((folder / weights).is_file() for weights in WHOLE_WEIGHTS):
        return True
    index = folder / INDEX_NAME
    if not index.is_file():
        return False
    try:
        content = json.loads(index.read_text(encoding="utf-8"))
        shards = set(content["weight_map"].values())
    except (ValueError, KeyError, AttributeError, TypeError):
        return False
    return bool(shards) and all(
        isinstance(shard, str)
        and _SHARD.fullmatch(shard)
        and (folder / shard).is_file()
        for shard in shards
    )


def look_up(wanted: Published, hub: str) -> dict[str, int]:
    """Name and bytes of the files to fetch.

    Raises:
        Unreachable: no answer within 5 s, or one that means nothing.
        SpeechError: no such model or revision, or no weights that can be loaded.
    """
    info = _within(REACH_SECONDS, lambda: _model_info(wanted, hub))
    sizes = {file.rfilename: file.size or 0 for file in info.siblings or []}
    return _needed(sizes, wanted.repo)


def download(
    wanted: Published,
    files: Mapping[str, int],
    cache: Path,
    hub: str,
    on_download: Callable[[Download], None] | None,
) -> Path:
    """Fetch ``files`` into the cache.

    Returns:
        The folder of the snapshot.

    Raises:
        SpeechError: the disk is too small, or the download broke off.
    """
    from huggingface_hub import snapshot_download, try_to_load_from_cache
    from huggingface_hub.errors import HTTPError

    revision = wanted.revision
    total = sum(
        size
        for name, size in files.items()
        if not isinstance(
            try_to_load_from_cache(wanted.repo, name, cache, revision=revision), str
        )
    )
    _check_room(wanted.repo, total, cache)
    blobs = cache / f"models--{wanted.repo.replace('/', '--')}" / "blobs"
    report = on_download or (lambda download: None)
    try:
        with _quiet(), _reporting(blobs, wanted.repo, total, report):
            folder = snapshot_download(
                wanted.repo,
                revision=revision,
                allow_patterns=list(files),
                cache_dir=cache,
                endpoint=hub,
                etag_timeout=REACH_SECONDS,
            )
    except (HTTPError, OSError, ValueError) as error:
        raise SpeechError(
            f"the download of `{wanted.repo}` broke off: {_first_line(error)}",
            "run the same command again: files that are complete are kept",
        ) from error
    if not has_model(Path(folder)):
        raise SpeechError(
            f"the download of `{wanted.repo}` is incomplete in `{folder}`",
            "run the same command again",
        )
    return Path(folder)


def _check_room(repo: str, total: int, cache: Path) -> None:
    existing = next(path for path in (cache, *cache.parents) if path.exists())
    free = shutil.disk_usage(existing).free
    if total > free:
        raise SpeechError(
            f"`{repo}` needs {total / 1e9:.2f} GB, "
            f"but only {free / 1e9:.2f} GB are free in `{existing}`",
            "free some space, or set HF_HOME to a folder on another disk",
        )


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the bars that huggingface_hub draws by itself."""
    from huggingface_hub.utils import (
        are_progress_bars_disabled,
        disable_progress_bars,
        enable_progress_bars,
    )

    if are_progress_bars_disabled():
        yield
        return
    disable_progress_bars()
    try:
        yield
    finally:
        enable_progress_bars()


@contextmanager
def _reporting(
    blobs: Path, repo: str, total: int, report: Callable[[Download], None]
) -> Iterator[None]:
    """Report by the growth of the folder that the files arrive in.

    huggingface_hub has a hook for its bars, but what passes through it differs from
    version to version and from transport to transport.
    """
    before = _bytes_in(blobs)
    finished = threading.Event()

    def watch() -> None:
        while not finished.wait(REPORT_SECONDS):
            report(Download(repo, min(_bytes_in(blobs) - before, total), total))

    report(Download(repo, 0, total))
    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield
    finally:
        finished.set()
        watcher.join()
    report(Download(repo, total, total))


def _bytes_in(folder: Path) -> int:
    total = 0
    for path in folder.glob("*"):
        try:
            total += path.stat().st_size
        except FileNotFoundError:  # a partial file became a whole one meanwhile
            continue
    return total


def _within(seconds: float, answer: Callable[[], Value]) -> Value:
    """The answer, or ``Unreachable`` after ``seconds``.

    In a thread of its own: nothing else bounds the look-up of a host name.
    """
    from huggingface_hub.errors import HTTPError

    future: Future[Value] = Future()

    def work() -> None:
        try:
            future.set_result(answer())
        except (HTTPError, OSError, ValueError, SpeechError) as error:
            future.set_exception(error)

    threading.Thread(target=work, daemon=True).start()
    try:
        return future.result(timeout=seconds)
    except FutureTimeout as error:
        raise Unreachable(f"no answer within {seconds:g} s") from error
    except (HTTPError, OSError, ValueError) as error:
        raise Unreachable(_first_line(error)) from error


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")


def _model_info(wanted: Published, hub: str) -> ModelInfo:
    from huggingface_hub import HfApi
    from huggingface_hub.errors import (
        GatedRepoError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    try:
        return HfApi(endpoint=hub).model_info(
            wanted.repo,
            revision=wanted.revision,
            timeout=REACH_SECONDS,
            files_metadata=True,
        )
    except GatedRepoError as error:
        raise SpeechError(
            f"`{wanted.repo}` is open only to those who accepted its terms",
            f"accept them on {hub}/{wanted.repo}, then run `hf auth login`",
        ) from error
    except RepositoryNotFoundError as error:
        raise SpeechError(
            f"{hub} has no model `{wanted.repo}` that you may see",
            "check the spelling; for a private model run `hf auth login`",
        ) from error
    except RevisionNotFoundError as error:
        raise SpeechError(
            f"`{wanted.repo}` has no revision `{wanted.revision}`",
            "leave @revision out, or give a branch, tag or commit that exists",
        ) from error


def _needed(sizes: Mapping[str, int], repo: str) -> dict[str, int]:
    """Name and bytes of the files to fetch: one set of weights, config, vocabulary.

    All lie at the top of the repository under names known beforehand, so that no name
    from the network leads out of the snapshot's folder.
    """
    weights = [name for name in WHOLE_WEIGHTS if name in sizes][:1]
    if SINGLE_NAME not in weights and INDEX_NAME in sizes:
        weights = [INDEX_NAME, *filter(_SHARD.fullmatch, sizes)]
    if not weights or CONFIG_NAME not in sizes:
        others = [name for name in sizes if name.endswith(WEIGHT_SUFFIXES)]
        raise SpeechError(
            f"`{repo}` holds no config.json with weights that can be loaded"
            + (f" (but {', '.join(others[:3])})" if others else ""),
            f"known are {', '.join(WHOLE_WEIGHTS)} and {INDEX_NAME}",
        )
    small = [name for name in sizes if _SMALL_FILE.fullmatch(name)]
    return {name: sizes[name] for name in [*small, *weights]}
