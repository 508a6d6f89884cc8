"""Text to Whisper's tokens and back, prompts of a task, words of a transcript."""

from __future__ import annotations

import string
from collections.abc import Sequence
from functools import cached_property

from mlx_speech.errors import SpeechError
from mlx_speech.whisper.languages import (
    LANGUAGES,
    SPACELESS_LANGUAGES,
    language_code,
)
from mlx_speech.whisper.vocabulary import SpecialTokens, Vocabulary, openai_vocabulary

TASKS = ("transcribe", "translate")
_REPLACEMENT = "\N{REPLACEMENT CHARACTER}"

# Marks of speaker names, sound descriptions and formatting, which nobody speaks.
_MARKS = (
    *'"#()*+/:;<=>@[\\]^_`{|}~「」『』',
    *("<<", ">>", "<<<", ">>>", "--", "---", "-(", "-[", "('", '("'),
    *("((", "))", "(((", ")))", "[[", "]]", "{{", "}}", "♪♪", "♪♪♪"),
)
# Notes of music (U+2669 to U+266F): their first token stands for all of them.
_NOTES = tuple("♩♪♫♬♭♮♯")


class Tokenizer:
    """Encodes and decodes the tokens of one model.

    Args:
        vocabulary: the model's pieces and special ids.
    """

    def __init__(self, vocabulary: Vocabulary) -> None:
        self.vocabulary = vocabulary
        self.special: SpecialTokens = vocabulary.special

    @classmethod
    def for_size(cls, size: int) -> Tokenizer:
        """Take OpenAI's vocabulary of a model with ``size`` token embeddings."""
        return cls(openai_vocabulary(size))

    @property
    def multilingual(self) -> bool:
        """Whether prompts name a language and a task."""
        return self.vocabulary.multilingual

    @property
    def only_language(self) -> str | None:
        """The code of the one language that the model knows; None: it knows several.

        English-only models of OpenAI number all languages, and were taught one.
        """
        if self.multilingual:
            return None
        codes = list(self.special.languages)
        return codes[0] if len(codes) == 1 else "en"

    @property
    def eot(self) -> int:
        """The end of text; every text token has a smaller id."""
        return self.special.eot

    @property
    def timestamp_begin(self) -> int:
        """The token of 0.00 s; all ids from here on are times."""
        return self.special.timestamp_begin

    def encode(self, text: str) -> list[int]:
        """Turn text into ids; what looks like a special token is plain text."""
        return self.vocabulary.encoding.encode(text, disallowed_special=())

    def decode(self, tokens: Sequence[int]) -> str:
        """Turn ids into text, leaving times out; broken UTF-8 becomes U+FFFD."""
        kept = [token for token in tokens if token < self.timestamp_begin]
        return self.vocabulary.encoding.decode(kept)

    def decode_with_timestamps(self, tokens: Sequence[int]) -> str:
        """Turn ids into text with times written like ``<|1.08|>``."""
        return self.vocabulary.encoding.decode(list(tokens))

    def language_token(self, language: str) -> int:
        """Return the id of a language, given by code or English name.

        Raises:
            SpeechError: the language is unknown, or unknown to this model.
        """
        code = language_code(language)
        if code not in self.special.languages:
            known = ", ".join(self.special.languages)
            raise SpeechError(
                f"this model does not know {LANGUAGES[code]} ({code})",
                f"choose a larger model, or one of: {known}",
            )
        return self.special.languages[code]

    def sot_sequence(
        self,
        language: str | None = None,
        task: str = "transcribe",
        timestamps: bool = True,
    ) -> tuple[int, ...]:
        """Return the tokens that start a transcript.

        An English-only model takes the start alone, whatever is asked for.

        Args:
            language: code or English name; English when None.
            task: "transcribe" or "translate" (into English).
            timestamps: whether the transcript is to hold times.

        Raises:
            SpeechError: an unknown task or language.
        """
        if task not in TASKS:
            raise SpeechError(
                f"the task {task!r} is not known", f"choose one of: {', '.join(TASKS)}"
            )
        tokens = [self.special.sot]
        if self.multilingual:
            tokens += [
                self.language_token(language or "en"),
                getattr(self.special, task),
            ]
        if not timestamps:
            tokens.append(self.special.no_timestamps)
        return tuple(tokens)

    @cached_property
    def non_speech_tokens(self) -> tuple[int, ...]:
        """Ids to suppress so that no annotations are written, ascending.

        Everyday punctuation stays; hyphens and apostrophes only inside words. A model
        with a vocabulary of its own writes what its transcripts hold, and no
        annotations: nothing is kept from it.
        """
        if not self.vocabulary.is_openais:
            return ()
        found = {self.encode(" -")[0], self.encode(" '")[0]}
        for mark in (*_MARKS, *_NOTES):
            for tokens in (self.encode(mark), self.encode(" " + mark)):
                if len(tokens) == 1 or mark in _NOTES:
                    found.add(tokens[0])
        return tuple(sorted(found))

    def split_to_word_tokens(
        self, tokens: Sequence[int], language: str | None = None
    ) -> tuple[list[str], list[list[int]]]:
        """Cut a transcript's ids into words.

        Args:
            tokens: ids, special ones and times included.
            language: code; None for one that writes spaces between words.

        Returns:
            The words, each with its leading space, and the ids of each.
        """
        if language in SPACELESS_LANGUAGES:
            return self._split_at_characters(tokens)
        return self._split_at_spaces(tokens)

    def _split_at_characters(
        self, tokens: Sequence[int]
    ) -> tuple[list[str], list[list[int]]]:
        """Cut wherever the ids so far end with a whole character."""
        whole = self.decode_with_timestamps(tokens)
        pieces: list[str] = []
        groups: list[list[int]] = []
        pending: list[int] = []
        written = 0
        for token in tokens:
            pending.append(token)
            text = self.decode_with_timestamps(pending)
            broken = text.find(_REPLACEMENT)
            # A replacement that the whole text has too is no half of a character.
            if broken < 0 or whole[written + broken :][:1] == _REPLACEMENT:
                pieces.append(text)
                groups.append(pending)
                written += len(text)
                pending = []
        if pending:  # the text ends inside a character
            pieces.append(self.decode_with_timestamps(pending))
            groups.append(pending)
        return pieces, groups

    def _split_at_spaces(
        self, tokens: Sequence[int]
    ) -> tuple[list[str], list[list[int]]]:
        """Join characters to words that begin with a space, a mark or a special id."""
        words: list[str] = []
        groups: list[list[int]] = []
        for piece, group in zip(*self._split_at_characters(tokens), strict=True):
            begins = (
                not words
                or group[0] >= self.eot
                or piece.startswith(" ")
                or piece.strip() in string.punctuation
            )
            if begins:
                words.append(piece)
                groups.append(group)
            else:
                words[-1] += piece
                groups[-1] = groups[-1] + group
        return words, groups
