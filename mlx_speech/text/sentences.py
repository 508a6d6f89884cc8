"""Long text cut into sentences, and long sentences into shorter pieces.

A full stop ends a sentence unless it belongs to an abbreviation (``Mr. Bell``), an
initial (``J. R. Hill``), a list number, or a word in lower case goes on after it
(``"Really?" she asked``). Where it may be both, as in ``Jr.``, the next word decides.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from mlx_speech.text import abbreviations as short

# The encoder's attention grows with the square of the length, and training data rarely
# has longer sentences.
LONGEST_PIECE = 240

_BLANK_LINE = re.compile(r"\n\s*\n")
# The second kind, of Chinese and Japanese, is followed by no space.
_END = re.compile(
    r"[.!?…।؟\u06d4]+[\"'”\u2019»)\]]*(?=\s)"
    r"|[\u3002\uff01\uff1f]+[”\u2019」』\uff09]*"
)
_CLAUSE_END = re.compile(r"(?<=[,;:—])\s+")
# {Phonemes} are one word, spaces and all.
_WORD = re.compile(r"(?:\{[^{}]*\}|\S)+")
_NO_WORDS = re.compile(r"[\s.!?…,;:'\"”\u2019»)\]—-]*")
_INITIALS = re.compile(r"(?:[^\W\d_]\.)+")
_LIST_NUMBER = re.compile(r"\s*[(\[]?\d{1,3}[.)]*")
_OPENING = "\"'“\u2018«([{"
_COMMON_STARTERS = (
    "a after all an and as at but by for from he her his how i if in it its my no not "
    "now of on one or our she so some that the their then there these they this those "
    "to was we what when where who why with you your"
)
_STARTERS = frozenset(_COMMON_STARTERS.split())
# How far around a full stop is looked, so that a book takes linear time.
_REACH = 100


def split_text(text: str, longest: int = LONGEST_PIECE) -> list[str]:
    """Cut ``text`` into sentences of at most ``longest`` characters.

    An empty line ends a sentence too. Longer sentences are cut after commas and the
    like, where there are none between words, and a longer word inside. Cutting loses
    nothing but spaces.
    """
    pieces: list[str] = []
    for paragraph in _BLANK_LINE.split(text):
        for sentence in _sentences(" ".join(paragraph.split())):
            # A mark on its own has no sound: it closes what was said before.
            if _NO_WORDS.fullmatch(sentence):
                if pieces and len(pieces[-1]) + len(sentence) < longest:
                    pieces[-1] = f"{pieces[-1]} {sentence}".rstrip()
            elif len(sentence) <= longest:
                pieces.append(sentence)
            else:
                pieces += _cut(sentence, longest)
    return pieces


def _sentences(line: str) -> Iterator[str]:
    start = 0
    for end in _END.finditer(line):
        before = line[max(start, end.start() - _REACH) : end.start()]
        after = line[end.end() : end.end() + _REACH]
        if _ends_sentence(before, end[0], after):
            yield line[start : end.end()].strip()
            start = end.end()
    yield line[start:].strip()


def _ends_sentence(before: str, marks: str, after: str) -> bool:
    """Whether ``marks`` end the sentence between ``before`` and ``after``."""
    following = after.lstrip().lstrip(_OPENING)
    goes_on = following[:1].islower()
    if marks != ".":
        # `"Really?" she asked`, and `well... perhaps`.
        quoted = marks[-1] not in ".!?…"
        return not (goes_on and (quoted or marks[-1] in ".…"))
    word = before.rsplit(" ", 1)[-1].lstrip(_OPENING)
    form = word.lower()
    next_word = re.split(r"[\s.,;:!?]", following, maxsplit=1)[0].lower()
    if form in short.LEADING or _LIST_NUMBER.fullmatch(before):
        return False
    if form in short.BEFORE_NUMBER and following[:1].isdigit():
        return False
    capital = following[:1].isupper()
    if form in short.BY_POSITION and capital:
        return bool(short.NAME_IN_SENTENCE.search(before[: len(before) - len(word)]))
    if form in short.BEFORE_NAME and capital:
        # Six ft. of snow fell; Ft. Worth is hot.
        return not word[0].isupper()
    if form in short.TRAILING or _INITIALS.fullmatch(f"{word}."):
        return next_word in _STARTERS and not goes_on
    return not (goes_on and (form in short.UNITS or form in short.BY_POSITION))


def _cut(sentence: str, longest: int) -> list[str]:
    clauses = [
        part
        for clause in _CLAUSE_END.split(sentence)
        for part in _joined(_short_words(clause, longest), longest)
    ]
    return _joined(clauses, longest)


def _short_words(clause: str, longest: int) -> list[str]:
    return [
        word[start : start + longest]
        for word in _WORD.findall(clause)
        for start in range(0, len(word), longest)
    ]


def _joined(parts: Sequence[str], longest: int) -> list[str]:
    """Join neighbours with a space as long as the result is at most ``longest``."""
    joined: list[str] = []
    for part in parts:
        if joined and len(joined[-1]) + 1 + len(part) <= longest:
            joined[-1] = f"{joined[-1]} {part}"
        else:
            joined.append(part)
    return joined
