"""What every text front end offers, and how one is rebuilt from a saved config."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

from mlx_speech.errors import SpeechError
from mlx_speech.text.characters import CharacterVocabulary
from mlx_speech.text.phonemes import EnglishPhonemeVocabulary


@runtime_checkable
class Vocabulary(Protocol):
    """Text to the ids of a model's embedding table; id 0 is the blank or padding."""

    kind: str

    @property
    def size(self) -> int:
        """Rows that an embedding table needs."""
        ...

    def encode(self, text: str) -> list[int]:
        """Turn ``text`` into ids; SpeechError lists what cannot be turned."""
        ...

    def unknown_symbols(self, text: str) -> list[str]:
        """Characters of ``text`` that the vocabulary lacks, each once, in order."""
        ...

    def to_dict(self) -> dict[str, Any]:
        """Describe the vocabulary in JSON types, ``kind`` among them."""
        ...


_KINDS: dict[str, type[CharacterVocabulary] | type[EnglishPhonemeVocabulary]] = {
    kind.kind: kind for kind in (CharacterVocabulary, EnglishPhonemeVocabulary)
}
VOCABULARY_KINDS = tuple(_KINDS)


def vocabulary_from_dict(description: Mapping[str, Any]) -> Vocabulary:
    """Rebuild the vocabulary that ``to_dict`` described.

    Raises:
        SpeechError: an unknown kind, or settings that the kind does not have.
    """
    settings = dict(description)
    kind = settings.pop("kind", None)
    if kind not in _KINDS:
        raise SpeechError(
            f"the vocabulary kind {kind!r} is not known",
            f"choose one of: {', '.join(VOCABULARY_KINDS)}",
        )
    try:
        return _KINDS[kind](**settings)
    except TypeError as error:
        raise SpeechError(
            f"the settings of the vocabulary {kind!r} do not fit: {error}",
            "write a vocabulary with `to_dict`",
        ) from error
