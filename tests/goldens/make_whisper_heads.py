"""Write ``whisper_heads.json``: the heads that align, of every model of OpenAI's.

python tests/goldens/make_whisper_heads.py      # needs openai-whisper 20250625

Its package holds them as compressed masks, which are read without the models.
"""

from __future__ import annotations

import base64
import gzip
import json
from pathlib import Path

import numpy as np
import whisper

# Layers and heads of the decoder.
SIZES = {"tiny": (4, 6), "base": (6, 8), "small": (12, 12), "medium": (24, 16)}
SIZES |= {"large-v3-turbo": (4, 20), "turbo": (4, 20)}
LARGE = (32, 20)


def main() -> None:
    """Store (layer, head) of every name."""
    found = {}
    for name, packed in whisper._ALIGNMENT_HEADS.items():
        mask = np.frombuffer(gzip.decompress(base64.b85decode(packed)), dtype=bool)
        size = SIZES.get(name.removesuffix(".en"), LARGE)
        found[name] = np.argwhere(mask.reshape(size)).tolist()
    path = Path(__file__).with_name("whisper_heads.json")
    path.write_text(json.dumps(found, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()
