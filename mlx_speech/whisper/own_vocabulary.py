"""A small vocabulary of a model's own: the words of its transcripts, and all bytes.

OpenAI's tables have 50,000 rows, most of a small model. A model for a limited task
needs the words of the task; anything else it can still spell, byte by byte.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable

from mlx_speech.errors import SpeechError
from mlx_speech.whisper.vocabulary import SpecialTokens, Vocabulary

BYTES = 256
# Words with the space before them, and marks, as the encoder cuts text.
_WORDS = re.compile(r"'[^\W\d_]+| ?[^\W\d_]+| ?\d+| ?[^\s\w]+")


def words_vocabulary(
    texts: Iterable[str],
    size: int,
    timestamps: int,
    languages: tuple[str, ...] = ("en",),
) -> Vocabulary:
    """Number the commonest words of ``texts`` after the 256 bytes.

    Args:
        texts: transcripts, as the model shall write them.
        size: most pieces of text, bytes included.
        timestamps: times that the model can write, one for each 20 ms.
        languages: codes that special tokens are kept for; the model is not taught
            several of them.

    Raises:
        SpeechError: ``size`` has no room for the bytes.
    """
    if size < BYTES:
        raise SpeechError(
            f"a vocabulary of {size} pieces cannot spell everything",
            f"allow at least {BYTES}, one for each byte",
        )
    counts: Counter[str] = Counter()
    for text in texts:
        # A transcript follows a time: its first word has a space before it as well.
        counts.update(_WORDS.findall(spoken_form(text)))
    # Ties go to the alphabet, so that the table does not depend on the order of texts.
    ranked = sorted(counts, key=lambda piece: (-counts[piece], piece))
    pieces = [piece.encode() for piece in ranked]
    pieces = [piece for piece in pieces if len(piece) > 1][: size - BYTES]
    ranks = {bytes([value]): value for value in range(BYTES)}
    ranks |= {piece: BYTES + place for place, piece in enumerate(pieces)}
    special = SpecialTokens.following(len(ranks), languages, timestamps)
    return Vocabulary(ranks, special, multilingual=False)


def spoken_form(text: str) -> str:
    """A transcript as it stands between tokens: Whisper begins texts with a space."""
    return " " + text.strip()
