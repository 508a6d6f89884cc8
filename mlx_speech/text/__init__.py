"""Text to symbols: vocabularies, and an English front end of our own."""

from mlx_speech.text.characters import CharacterVocabulary, vits_vocabulary
from mlx_speech.text.english import phonemize
from mlx_speech.text.phonemes import EnglishPhonemeVocabulary
from mlx_speech.text.vocabulary import (
    VOCABULARY_KINDS,
    Vocabulary,
    vocabulary_from_dict,
)

__all__ = [
    "VOCABULARY_KINDS",
    "CharacterVocabulary",
    "EnglishPhonemeVocabulary",
    "Vocabulary",
    "phonemize",
    "vits_vocabulary",
    "vocabulary_from_dict",
]
