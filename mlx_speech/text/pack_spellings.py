"""Pack a table of spellings into the file that :mod:`whisper_normalizer` reads.

    python -m mlx_speech.text.pack_spellings whisper/normalizers/english.json

The table is openai-whisper's: British spelling to American, a JSON object.
"""

from __future__ import annotations

import json
import lzma
import sys
from pathlib import Path

from mlx_speech.files import replacing_file
from mlx_speech.text.whisper_normalizer import SPELLINGS_FILE


def pack(source: str) -> bytes:
    """Compress the JSON text ``source``, the same bytes for the same table."""
    table = json.dumps(json.loads(source), sort_keys=True, separators=(",", ":"))
    return lzma.compress(table.encode(), preset=9 | lzma.PRESET_EXTREME)


def main() -> None:
    """Read the table named on the command line and write the package's copy."""
    packed = pack(Path(sys.argv[1]).read_text(encoding="utf-8"))
    with replacing_file(SPELLINGS_FILE) as temporary:
        temporary.write_bytes(packed)


if __name__ == "__main__":
    main()
