"""Pack the CMU Pronouncing Dictionary into the file that :mod:`lexicon` reads.

    python -m mlx_speech.text.pack_lexicon cmudict.dict

``cmudict.dict`` is the dictionary's own text (github.com/cmusphinx/cmudict). Kept:
the first pronunciation of every word made of a to z and apostrophes. One line a
word, one printable character a phoneme, compressed with xz.
"""

from __future__ import annotations

import lzma
import re
import sys
from pathlib import Path

from mlx_speech.files import replacing_file
from mlx_speech.text.lexicon import CODES, LEXICON_FILE

_WORD = re.compile(r"[a-z']*[a-z][a-z']*")


def pack(source: str) -> bytes:
    """Compress the dictionary text ``source``, the same bytes for the same text."""
    code_of = {phoneme: code for code, phoneme in CODES.items()}
    entries: dict[str, str] = {}
    for line in source.splitlines():
        word, _, phonemes = line.split("#")[0].strip().partition(" ")
        if _WORD.fullmatch(word):
            coded = "".join(code_of[phoneme] for phoneme in phonemes.split())
            entries.setdefault(word, coded)
    lines = "\n".join(f"{word} {coded}" for word, coded in sorted(entries.items()))
    return lzma.compress(lines.encode("ascii"), preset=9 | lzma.PRESET_EXTREME)


def main() -> None:
    """Read the dictionary named on the command line and write the package's copy."""
    packed = pack(Path(sys.argv[1]).read_text(encoding="utf-8"))
    with replacing_file(LEXICON_FILE) as temporary:
        temporary.write_bytes(packed)


if __name__ == "__main__":
    main()
