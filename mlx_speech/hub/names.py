"""Short names of published models, and which commit of which repository they mean.

The Whisper names are those of openai-whisper's command (Radford et al. 2022) and of
distil-whisper (Gandhi et al. 2023); the others are Mistral's Voxtrals. The commits are
pinned where a name has one, so that it gives the same weights tomorrow; a repository
given by itself means its newest state.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from difflib import get_close_matches

from mlx_speech.errors import SpeechError

# No part begins with a dot, so no part is `..`.
_PART = r"[A-Za-z0-9_][\w.-]*"
_REPOSITORY = re.compile(rf"({_PART}/{_PART})(?:@({_PART}(?:/{_PART})*))?", re.ASCII)


@dataclass(frozen=True)
class Published:
    """A model on the Hugging Face hub.

    Attributes:
        repo: ``owner/name``.
        revision: commit, branch or tag; None for the newest.
        pinned: whether the revision is this table's and not the caller's.
    """

    repo: str
    revision: str | None = None
    pinned: bool = False


def _pin(repo: str, revision: str) -> Published:
    return Published(repo, revision, pinned=True)


_LARGE_V3 = _pin("openai/whisper-large-v3", "06f233fe06e710322aca913c1bc4249a0d71fce1")
_TURBO = _pin(
    "openai/whisper-large-v3-turbo", "41f01f3fe87f28c78e2fbf8b568835947dd65ed9"
)

SHORT_NAMES: dict[str, Published] = {
    "tiny": _pin("openai/whisper-tiny", "169d4a4341b33bc18d8881c4b69c2e104e1cc0af"),
    "tiny.en": _pin(
        "openai/whisper-tiny.en", "87c7102498dcde7456f24cfd30239ca606ed9063"
    ),
    "base": _pin("openai/whisper-base", "e37978b90ca9030d5170a5c07aadb050351a65bb"),
    "base.en": _pin(
        "openai/whisper-base.en", "911407f4214e0e1d82085af863093ec0b66f9cd6"
    ),
    "small": _pin("openai/whisper-small", "973afd24965f72e36ca33b3055d56a652f456b4d"),
    "small.en": _pin(
        "openai/whisper-small.en", "e8727524f962ee844a7319d92be39ac1bd25655a"
    ),
    "medium": _pin("openai/whisper-medium", "abdf7c39ab9d0397620ccaea8974cc764cd0953e"),
    "medium.en": _pin(
        "openai/whisper-medium.en", "2e98eb6279edf5095af0c8dedb36bdec0acd172b"
    ),
    # The repository without a number holds the first version.
    "large-v1": _pin(
        "openai/whisper-large", "4ef9b41f0d4fe232daafdb5f76bb1dd8b23e01d7"
    ),
    "large-v2": _pin(
        "openai/whisper-large-v2", "ae4642769ce2ad8fc292556ccea8e901f1530655"
    ),
    "large-v3": _LARGE_V3,
    "large": _LARGE_V3,
    "large-v3-turbo": _TURBO,
    "turbo": _TURBO,
    "distil-small.en": Published("distil-whisper/distil-small.en"),
    "distil-medium.en": Published("distil-whisper/distil-medium.en"),
    "distil-large-v2": Published("distil-whisper/distil-large-v2"),
    "distil-large-v3": _pin(
        "distil-whisper/distil-large-v3", "8031d2e6ce6631b7fc45629dddfc00271116d981"
    ),
    "distil-large-v3.5": _pin(
        "distil-whisper/distil-large-v3.5", "728a7691f3ff1d3d971528d3203a6e9559165d41"
    ),
    "voxtral-mini": Published("mistralai/Voxtral-Mini-3B-2507"),
    "voxtral-small": Published("mistralai/Voxtral-Small-24B-2507"),
    "voxtral-realtime": Published("mistralai/Voxtral-Mini-4B-Realtime-2602"),
}


def published(name: str) -> Published:
    """What a short name, ``owner/name`` or ``owner/name@revision`` means.

    Raises:
        SpeechError: it is none of them; names like it are suggested.
    """
    if name in SHORT_NAMES:
        return SHORT_NAMES[name]
    if match := _REPOSITORY.fullmatch(name):
        repo, revision = match.groups()
        return Published(repo, revision)
    near = get_close_matches(name, SHORT_NAMES, n=3)
    raise SpeechError(
        f"no model is called {name!r}",
        f"did you mean {' or '.join(near)}?"
        if near
        else "give a folder, a repository as owner/name, or one of "
        + ", ".join(SHORT_NAMES),
    )
