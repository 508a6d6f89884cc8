"""Tekken, Mistral's tokenizer: text to tokens and back, from a tekken.json.

The file lists byte sequences by rank, which tiktoken merges. Ids of text follow those
of the special tokens (1000 in Mistral's files): id = rank + their number. Special
tokens are never made of text: what looks like one is text.
"""

from __future__ import annotations

import base64
import binascii
import codecs
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from mlx_speech.errors import SpeechError
from mlx_speech.hub.load import read_json

FILE_NAME = "tekken.json"
BYTES = 256
# Names that Mistral gives to the special tokens, and ids they have where a file of an
# early version does not list them.
EARLY_SPECIAL_TOKENS = (
    "<unk>",
    "<s>",
    "</s>",
    "[INST]",
    "[/INST]",
    "[AVAILABLE_TOOLS]",
    "[/AVAILABLE_TOOLS]",
    "[TOOL_RESULTS]",
    "[/TOOL_RESULTS]",
    "[TOOL_CALLS]",
    "[IMG]",
    "<pad>",
    "[IMG_BREAK]",
    "[IMG_END]",
    "[PREFIX]",
    "[MIDDLE]",
    "[SUFFIX]",
    "[SYSTEM_PROMPT]",
    "[/SYSTEM_PROMPT]",
    "[TOOL_CONTENT]",
)
BEGIN, END = "<s>", "</s>"


class Tekken:
    """The tokenizer of one model.

    Args:
        content: of a tekken.json.
        source: where it is from, for messages.

    Attributes:
        special: ids of the special tokens by name.
        n_special: how many ids come before those of text.
        audio: the file's settings for audio, empty when it has none.

    Raises:
        SpeechError: the content is no such file, or a damaged one.
    """

    def __init__(self, content: Any, source: str | Path = FILE_NAME) -> None:
        self._source = source
        config, vocabulary = self._parts(content)
        self.n_special = _count(config, "default_num_special_tokens", source)
        size = _count(config, "default_vocab_size", source)
        ranks = self._ranks(vocabulary, size - self.n_special)
        self.special = self._special_tokens(content.get("special_tokens"))
        self.audio: dict[str, Any] = content.get("audio") or {}
        if not isinstance(self.audio, dict):
            raise _damaged(source, "its `audio` is no object")
        import tiktoken

        try:
            self._encoding = tiktoken.Encoding(
                "tekken",
                pat_str=config["pattern"],
                mergeable_ranks=ranks,
                special_tokens={},
            )
        except ValueError as error:
            raise _damaged(source, f"its pattern: {error}") from error

    @classmethod
    def from_folder(cls, folder: str | Path) -> Tekken:
        """Read the tekken.json of a model's folder.

        Raises:
            SpeechError: there is none, or it is damaged.
        """
        path = Path(folder) / FILE_NAME
        if not path.is_file():
            raise SpeechError(
                f"`{folder}` has no tokenizer, {FILE_NAME}",
                f"copy {FILE_NAME} from the model's repository at mistralai",
            )
        return cls(read_json(path), path)

    @property
    def size(self) -> int:
        """Ids, special ones included."""
        return self.n_special + self._encoding.n_vocab

    def special_id(self, name: str) -> int:
        """The id of a special token (SpeechError: this tokenizer has none)."""
        if name not in self.special:
            raise SpeechError(
                f"the tokenizer `{self._source}` has no special token {name}",
                f"use the {FILE_NAME} that came with the weights",
            )
        return self.special[name]

    def encode(self, text: str) -> list[int]:
        """Text to ids; nothing is put around it."""
        return [rank + self.n_special for rank in self._encoding.encode(text)]

    def decode(self, ids: Iterable[int]) -> str:
        """Ids to text; special ones leave no trace, broken UTF-8 becomes U+FFFD."""
        return b"".join(self.token_bytes(token) for token in ids).decode(
            "utf-8", "replace"
        )

    def token_bytes(self, token: int) -> bytes:
        """The bytes of one id, which may be part of a character; none if special.

        A model may have more rows than there are ids, none of which means anything.
        """
        if not self.n_special <= token < self.size:
            return b""
        return self._encoding.decode_single_token_bytes(token - self.n_special)

    def stream(self) -> TextStream:
        """A decoder for ids that come one at a time."""
        return TextStream(self)

    def _parts(self, content: Any) -> tuple[Mapping[str, Any], Sequence[Any]]:
        config = content.get("config") if isinstance(content, dict) else None
        vocabulary = content.get("vocab") if isinstance(content, dict) else None
        if (
            not isinstance(config, dict)
            or not isinstance(config.get("pattern"), str)
            or not isinstance(vocabulary, list)
        ):
            raise _damaged(self._source, "it has no `config.pattern` and `vocab`")
        return config, vocabulary

    def _ranks(self, vocabulary: Sequence[Any], count: int) -> dict[bytes, int]:
        if not BYTES <= count <= len(vocabulary):
            raise _damaged(
                self._source, f"{count} tokens of text are wanted of {len(vocabulary)}"
            )
        ranks = {}
        try:
            for index, entry in enumerate(vocabulary[:count]):
                token = base64.b64decode(entry["token_bytes"], validate=True)
                ranks[token] = entry["rank"]
                if entry["rank"] != index or (
                    index < BYTES and token != bytes([index])
                ):
                    raise _damaged(self._source, f"entry {index} is out of order")
        except (KeyError, TypeError, ValueError, binascii.Error) as error:
            raise _damaged(self._source, f"entry {len(ranks)} is no token") from error
        if len(ranks) != count:
            raise _damaged(self._source, "a token is there twice")
        return ranks

    def _special_tokens(self, entries: Any) -> dict[str, int]:
        if entries is None:
            return {name: index for index, name in enumerate(EARLY_SPECIAL_TOKENS)}
        try:
            return {str(entry["token_str"]): int(entry["rank"]) for entry in entries}
        except (KeyError, TypeError, ValueError) as error:
            raise _damaged(self._source, "its special tokens make no sense") from error


class TextStream:
    """Text of ids as they come, cut between characters only."""

    def __init__(self, tokenizer: Tekken) -> None:
        self._tokenizer = tokenizer
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def add(self, token: int) -> str:
        """The text that this id completes, perhaps none."""
        return self._decoder.decode(self._tokenizer.token_bytes(token))

    def finish(self) -> str:
        """What is left: a replacement character when the last one is unfinished."""
        return self._decoder.decode(b"", final=True)


def _count(config: Mapping[str, Any], name: str, source: str | Path) -> int:
    value = config.get(name)
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise _damaged(source, f"{name} is {value!r}")
    return value


def _damaged(source: str | Path, why: str) -> SpeechError:
    return SpeechError(
        f"`{source}` is no Tekken tokenizer that can be used: {why}",
        "download or copy it again",
    )
