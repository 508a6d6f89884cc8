"""Write ``vits_tokenizer.json``: ids that transformers' VitsTokenizer gives.

python tests/goldens/make_vits_tokenizer.py      # needs transformers 5
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

from transformers import VitsTokenizer

# An MMS-like table: the blank's id belongs to a letter, one symbol is a capital.
SYMBOLS = "k'zat e-bnoţșéQ"
TEXTS = [
    "Take a bean to the boat",
    " tak, zé!  ton ",
    "-- K'Q q",
    "noţ NOȚ șaț ȘAŢ",
    "xyz",
    "a",
]
SETTINGS = [
    {"add_blank": True, "normalize": True, "language": "eng"},
    {"add_blank": False, "normalize": True, "language": "eng"},
    {"add_blank": True, "normalize": True, "language": "ron"},
]


def main() -> None:
    """Run the tokenizer in a temporary folder and store what it gave."""
    table = {symbol: i for i, symbol in enumerate(SYMBOLS)}
    cases = []
    with tempfile.TemporaryDirectory() as folder:
        vocabulary = Path(folder) / "vocab.json"
        vocabulary.write_text(json.dumps(table), encoding="utf-8")
        for settings in SETTINGS:
            tokenizer = VitsTokenizer(
                str(vocabulary),
                pad_token=SYMBOLS[0],
                unk_token=SYMBOLS[0],
                phonemize=False,
                **settings,
            )
            cases += [
                {"settings": settings, "text": text, "ids": tokenizer(text).input_ids}
                for text in TEXTS
            ]
    goldens = {"symbols": table, "cases": cases}
    path = Path(__file__).with_name("vits_tokenizer.json")
    text = json.dumps(goldens, ensure_ascii=False, indent=1) + "\n"
    path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
