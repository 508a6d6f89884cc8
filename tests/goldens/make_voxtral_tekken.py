"""Make voxtral_tekken.json, a vocabulary of 412 tokens, and voxtral_tokens.json.

The second holds the ids that mistral-common 1.13.1 gives with that vocabulary and with
the real one (tekken_240911.json of its package, cut as Voxtral's file is).

    python tests/goldens/make_voxtral_tekken.py
"""

from __future__ import annotations

import base64
import json
import sys
import tempfile
from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Any

import mistral_common
import regex
from mistral_common.tokens.tokenizers.tekken import Tekkenizer

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))
import voxtral_recipe as recipe  # noqa: E402

REAL = Path(mistral_common.__file__).parent / "data" / "tekken_240911.json"
N_SPECIAL, N_TEXT = 100, 412


def main() -> None:
    real = json.loads(REAL.read_text())
    small = {
        "config": {
            "pattern": real["config"]["pattern"],
            "num_vocab_tokens": N_TEXT,
            "default_vocab_size": N_SPECIAL + N_TEXT,
            "default_num_special_tokens": N_SPECIAL,
            "version": "v7",
        },
        "vocab": vocabulary(real["config"]["pattern"]),
    }
    text = json.dumps(small, separators=(",", ":"))
    (HERE / "voxtral_tekken.json").write_text(text + "\n")
    golden = {
        "small": encode(recipe.tekken()),
        "real": encode(recipe.with_audio(real)),
    }
    text = json.dumps(golden, separators=(",", ":"))
    (HERE / "voxtral_tokens.json").write_text(text + "\n")


def vocabulary(pattern: str) -> list[dict[str, Any]]:
    """All bytes, and the pairs that are merged first in the recipe's texts."""
    corpus = list(recipe.TEXTS) + [
        str(part) for turns in recipe.CONVERSATIONS.values() for part in turns
    ]
    words = [
        [bytes([byte]) for byte in piece.encode()]
        for text in corpus
        for piece in regex.findall(pattern, text)
    ]
    tokens = [bytes([byte]) for byte in range(256)]
    while len(tokens) < N_TEXT:
        pairs = Counter(pair for word in words for pair in pairwise(word))
        first, second = min(pairs, key=lambda pair: (-pairs[pair], pair))
        tokens.append(first + second)
        words = [merge(word, first, second) for word in words]
    return [
        {"rank": i, "token_bytes": base64.b64encode(t).decode(), "token_str": None}
        for i, t in enumerate(tokens)
    ]


def merge(word: list[bytes], first: bytes, second: bytes) -> list[bytes]:
    merged: list[bytes] = []
    for token in word:
        if merged and merged[-1] == first and token == second:
            merged[-1] = first + second
        else:
            merged.append(token)
    return merged


def encode(content: dict[str, Any]) -> list[list[int]]:
    """The ids of the recipe's texts."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "tekken.json"
        path.write_text(json.dumps(content))
        tokenizer = Tekkenizer.from_file(path)
    found = [tokenizer.encode(text, bos=False, eos=False) for text in recipe.TEXTS]
    for text, ids in zip(recipe.TEXTS, found, strict=True):
        assert tokenizer.decode(ids) == text
    return found


if __name__ == "__main__":
    main()
