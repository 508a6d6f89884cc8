"""English text as it is written to words as they are said."""

from __future__ import annotations

import re


def normalize(text: str) -> str:
    """Lower ``text``."""
    return text.lower()


def unspeakable(text: str) -> list[str]:
    """Characters of ``text`` that nothing here reads, each once, in order."""
    return list(dict.fromkeys(re.sub(r"[a-zA-Z0-9\s,.?!;:'{}-]", "", text)))
