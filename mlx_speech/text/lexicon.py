"""The CMU Pronouncing Dictionary, bundled (BSD licence, ``data/CMUDICT-LICENSE.txt``).

Only the first pronunciation of each word is kept. The file is unpacked once, on the
first look-up, in about a tenth of a second.
"""

from __future__ import annotations

import lzma
from functools import lru_cache
from pathlib import Path

from mlx_speech.text.symbols import PHONEMES

LEXICON_FILE = Path(__file__).parent / "data" / "cmudict.xz"
# One printable ASCII character for each phoneme, so that a pronunciation is a word.
CODES = {chr(ord("!") + i): phoneme for i, phoneme in enumerate(PHONEMES)}


@lru_cache(maxsize=1)
def _entries() -> dict[str, str]:
    lines = lzma.decompress(LEXICON_FILE.read_bytes()).decode("ascii").split("\n")
    return dict(line.split(" ", 1) for line in lines)


def look_up(word: str) -> tuple[str, ...] | None:
    """ARPAbet phonemes of a lower-case ``word``, or None when it is not listed."""
    coded = _entries().get(word)
    return None if coded is None else tuple(CODES[code] for code in coded)
