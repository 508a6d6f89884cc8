"""Byte-pair tables and special ids of Whisper models, OpenAI's two bundled.

The two tables are data of OpenAI's Whisper (MIT, see assets/). Special tokens are
found by id, never by name: exports name the same id differently.
"""

from __future__ import annotations

import base64
import binascii
import json
import lzma
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cache, cached_property
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlx_speech.errors import SpeechError
from mlx_speech.files import replacing_file
from mlx_speech.whisper.languages import LANGUAGES
from mlx_speech.whisper.segments import SECONDS_PER_TIME

if TYPE_CHECKING:
    import tiktoken

TIMESTAMPS = 1501
RANKS_FILE = "vocabulary.tiktoken"
SPECIAL_FILE = "special_tokens.json"

# Rows of the token embedding: which table, and how many languages.
_OPENAI_SIZES = {
    51864: ("gpt2", 99),
    51865: ("multilingual", 99),
    51866: ("multilingual", 100),
}
# Pieces of text in its tables.
_OPENAI_PIECES = (50256, 50257)
# How GPT-2 cuts text before merging bytes: contractions, words, numbers, the rest.
_PIECES = (
    r"'s|'t|'re|'ve|'m|'ll|'d"
    r"| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
)


@dataclass(frozen=True)
class SpecialTokens:
    """Ids of the tokens that are no text; ``languages`` maps codes to ids."""

    eot: int
    sot: int
    languages: dict[str, int]
    translate: int
    transcribe: int
    sot_lm: int
    sot_prev: int
    no_speech: int
    no_timestamps: int
    timestamp_begin: int
    timestamps: int = TIMESTAMPS

    @classmethod
    def following(
        cls,
        first: int,
        languages: tuple[str, ...],
        timestamps: int = TIMESTAMPS,
    ) -> SpecialTokens:
        """Number the tokens as OpenAI does, ``first`` being the end of text."""
        after = first + 2 + len(languages)
        return cls(
            eot=first,
            sot=first + 1,
            languages={code: first + 2 + i for i, code in enumerate(languages)},
            translate=after,
            transcribe=after + 1,
            sot_lm=after + 2,
            sot_prev=after + 3,
            no_speech=after + 4,
            no_timestamps=after + 5,
            timestamp_begin=after + 6,
            timestamps=timestamps,
        )

    @property
    def size(self) -> int:
        """Ids in all, text included: the rows that an embedding table needs."""
        return self.timestamp_begin + self.timestamps

    def names(self) -> dict[str, int]:
        """Map the names that are shown for these tokens to their ids."""
        return {
            "<|endoftext|>": self.eot,
            "<|startoftranscript|>": self.sot,
            **{f"<|{code}|>": token for code, token in self.languages.items()},
            "<|translate|>": self.translate,
            "<|transcribe|>": self.transcribe,
            "<|startoflm|>": self.sot_lm,
            "<|startofprev|>": self.sot_prev,
            "<|nospeech|>": self.no_speech,
            "<|notimestamps|>": self.no_timestamps,
            **{
                f"<|{i * SECONDS_PER_TIME:.2f}|>": self.timestamp_begin + i
                for i in range(self.timestamps)
            },
        }


@dataclass(frozen=True, eq=False)
class Vocabulary:
    """The text pieces of a model and its special tokens.

    Args:
        ranks: bytes of every piece, to its id, which is also its merging order.
        special: ids of the other tokens.
        multilingual: whether the model expects a language and a task.
    """

    ranks: Mapping[bytes, int]
    special: SpecialTokens
    multilingual: bool

    @property
    def size(self) -> int:
        """Rows that an embedding table needs."""
        return self.special.size

    @property
    def is_openais(self) -> bool:
        """Whether the pieces of text are OpenAI's, by their number."""
        return len(self.ranks) in _OPENAI_PIECES

    @cached_property
    def encoding(self) -> tiktoken.Encoding:
        """The encoder and decoder of these pieces, built at first use."""
        import tiktoken

        return tiktoken.Encoding(
            name="whisper",
            pat_str=_PIECES,
            mergeable_ranks=dict(self.ranks),
            special_tokens=self.special.names(),
        )


@cache
def openai_vocabulary(size: int) -> Vocabulary:
    """Return the bundled vocabulary of a model with ``size`` token embeddings.

    Raises:
        SpeechError: none of OpenAI's models has that many.
    """
    if size not in _OPENAI_SIZES:
        sizes = ", ".join(map(str, _OPENAI_SIZES))
        raise SpeechError(
            f"a model with {size} tokens needs a vocabulary of its own",
            f"put {RANKS_FILE} and {SPECIAL_FILE} into its folder"
            f" (OpenAI's models have {sizes} tokens)",
        )
    table, languages = _OPENAI_SIZES[size]
    packed = resources.files(__package__) / "assets" / f"{table}.tiktoken.xz"
    ranks = _parse_ranks(lzma.decompress(packed.read_bytes()), table)
    special = SpecialTokens.following(len(ranks), tuple(LANGUAGES)[:languages])
    # English-only models number the languages too, but were never taught them.
    return Vocabulary(ranks, special, multilingual=table == "multilingual")


def read_vocabulary(folder: str | Path) -> Vocabulary | None:
    """Read a model folder's own vocabulary; None when it brings none.

    Raises:
        SpeechError: one of the two files is missing, malformed or contradictory.
    """
    ranks_path, special_path = Path(folder) / RANKS_FILE, Path(folder) / SPECIAL_FILE
    if not ranks_path.exists() and not special_path.exists():
        return None
    for path in (ranks_path, special_path):
        if not path.is_file():
            raise SpeechError(
                f"{folder} has only one half of a vocabulary: {path.name} is missing",
                f"{RANKS_FILE} and {SPECIAL_FILE} belong together",
            )
    ranks = _parse_ranks(ranks_path.read_bytes(), str(ranks_path))
    try:
        table: dict[str, Any] = json.loads(special_path.read_text(encoding="utf-8"))
        multilingual = bool(table.pop("multilingual"))
        special = SpecialTokens(**table)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise SpeechError(
            f"{special_path} is not a table of special tokens: {error}",
            "it holds the fields that mlx-speech writes, as JSON",
        ) from error
    if special.eot < len(ranks):
        raise SpeechError(
            f"{special_path} gives id {special.eot} to the end of text, but the"
            f" {len(ranks)} text pieces of {ranks_path.name} use it",
            "special ids follow those of the text",
        )
    return Vocabulary(ranks, special, multilingual)


def write_vocabulary(folder: str | Path, vocabulary: Vocabulary) -> None:
    """Write the two files that ``read_vocabulary`` reads into ``folder``."""
    lines = [
        f"{base64.b64encode(piece).decode()} {rank}\n"
        for piece, rank in sorted(vocabulary.ranks.items(), key=lambda item: item[1])
    ]
    table = asdict(vocabulary.special) | {"multilingual": vocabulary.multilingual}
    with replacing_file(Path(folder) / RANKS_FILE) as path:
        path.write_text("".join(lines), encoding="ascii")
    with replacing_file(Path(folder) / SPECIAL_FILE) as path:
        path.write_text(json.dumps(table, indent=2) + "\n", encoding="utf-8")


def _parse_ranks(text: bytes, name: str) -> dict[bytes, int]:
    """Read lines of a base64 piece and its rank; ranks run from 0 without holes."""
    try:
        ranks = {
            base64.b64decode(piece): int(rank)
            for piece, rank in (line.split() for line in text.splitlines() if line)
        }
    except (ValueError, binascii.Error) as error:
        raise SpeechError(
            f"{name} is not a tiktoken vocabulary: {error}",
            "each line holds a piece in base64, a space and its rank",
        ) from error
    if sorted(ranks.values()) != list(range(len(ranks))):
        raise SpeechError(
            f"the ranks in {name} do not run from 0 to {len(ranks) - 1}",
            "give every piece one rank of its own",
        )
    return ranks
