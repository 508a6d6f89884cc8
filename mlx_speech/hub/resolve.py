"""From what a user calls a model to the folder that holds it.

In this order: a path, a short name or repository in the Hugging Face cache, the
network.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from mlx_speech.errors import SpeechError
from mlx_speech.hub.download import (
    CONFIG_NAME,
    WEIGHT_SUFFIXES,
    Download,
    Unreachable,
    download,
    has_model,
    look_up,
)
from mlx_speech.hub.names import SHORT_NAMES, Published, published

# Of a page that a browser shows: its end is the repository's name.
_ADDRESS = re.compile(r"https?://(?:huggingface\.co|hf\.co)/")


def resolve(
    name: str | Path,
    *,
    offline: bool = False,
    cache: str | Path | None = None,
    endpoint: str | None = None,
    on_download: Callable[[Download], None] | None = None,
    otherwise: str = "",
) -> Path:
    """Find a model, and download it when it is nowhere on this machine.

    Args:
        name: path of a folder or file; a name of ``SHORT_NAMES``; ``owner/name``,
            with ``@revision`` when it is not to be the newest, or its page's address.
        offline: never use the network; ``HF_HUB_OFFLINE=1`` means the same.
        cache: the cache of Hugging Face; None for the usual one.
        endpoint: address of the hub; None for the usual one.
        on_download: called before, during and after a download, from several threads
            but never from two at once.
        otherwise: what else the user could do, for the hint when there is no network.

    Returns:
        The path as it was given, or the folder of the snapshot in the cache.

    Raises:
        SpeechError: nothing of this name; neither cached nor reachable within 5 s; no
            weights in it that can be loaded; the disk is too small; the download broke.
    """
    if isinstance(name, str) and (address := _ADDRESS.match(name)):
        name = name[address.end() :].rstrip("/")
    found = _local(name)
    if found is not None:
        return found
    from huggingface_hub import constants

    cache = Path(constants.HF_HUB_CACHE if cache is None else cache).expanduser()
    wanted = published(str(name))
    cached = _cached(wanted, cache)
    if cached is not None:
        return cached
    what = f"`{name}`" if str(name) == wanted.repo else f"`{name}` ({wanted.repo})"
    hint = ", ".join(
        part for part in ("download it once, or give a local folder", otherwise) if part
    )
    if offline or constants.HF_HUB_OFFLINE:
        raise SpeechError(
            f"{what} is not on this machine, and this run is offline", hint
        )
    hub = endpoint or constants.ENDPOINT
    try:
        files = look_up(wanted, hub)
    except Unreachable as error:
        raise SpeechError(
            f"{what} is not on this machine, and {hub} cannot be reached ({error})",
            hint,
        ) from error
    return download(wanted, files, cache, hub, on_download)


def _local(name: str | Path) -> Path | None:
    path = Path(name).expanduser()
    if str(name) in SHORT_NAMES:
        # A folder of recordings called `base` is not meant; one with a model is.
        return path if path.is_file() or (path / CONFIG_NAME).is_file() else None
    if path.exists():
        return path
    bare = str(name).partition("@")[0]
    if (
        isinstance(name, Path)
        or bare.startswith((".", "/", "~"))
        or "\\" in bare
        or bare.count("/") > 1
        or bare.endswith(WEIGHT_SUFFIXES)
    ):
        raise SpeechError(f"no file or folder `{name}`", "check the path of the model")
    return None


def _cached(wanted: Published, cache: Path) -> Path | None:
    """A complete snapshot in the cache, the wanted revision or, in its place, ``main``.

    Another commit of a pinned model is better than a download: it is what the user's
    other programs fetched.
    """
    from huggingface_hub import try_to_load_from_cache

    revisions = [wanted.revision, "main"] if wanted.pinned else [wanted.revision]
    for revision in revisions:
        config = try_to_load_from_cache(
            wanted.repo, CONFIG_NAME, cache_dir=cache, revision=revision
        )
        if isinstance(config, str) and has_model(Path(config).parent):
            return Path(config).parent
    return None
