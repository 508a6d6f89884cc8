"""Write the sentences and voices that the bundled recogniser learns and is judged by.

    python weights/make_recogniser_lists.py

Writes ``sentences/recogniser_{training,validation,held_out}.txt`` and
``recogniser_voices.json``. The lists are committed: this script says where they come
from, and makes them again when the grammar changes. A sentence is in one list only;
a voice variant of the group "unheard" speaks no sentence of the training.
"""

from __future__ import annotations

import json
import random
import re
import sys
from collections.abc import Callable
from pathlib import Path

import yaml

from mlx_speech.files import replacing_file

HERE = Path(__file__).parent
SEED = 20261124
TRAINING, VALIDATION, HELD_OUT = 6000, 120, 300

GRAMMAR = yaml.safe_load((HERE / "recogniser_grammar.yaml").read_text(encoding="utf-8"))
ONES, TENS, ORDINALS = (GRAMMAR[name] for name in ("ones", "tens", "ordinals"))
SLOTS, TEMPLATES = GRAMMAR["slots"], GRAMMAR["templates"]
UNHEARD_VARIANTS = 12
# Words a minute and pitch (0 to 99) that a recording draws from.
RATES = (130, 145, 160, 175, 190, 205)
PITCHES = (30, 40, 50, 60, 70)


def number(draw: random.Random, below: int = 100) -> str:
    """A whole number below 100, in words."""
    value = draw.randrange(below)
    if value < len(ONES):
        return ONES[value]
    tens, ones = divmod(value, 10)
    return TENS[tens - 2] + (f" {ONES[ones]}" if ones else "")


def big_number(draw: random.Random) -> str:
    """A number from one hundred on, in words."""
    unit = draw.choice(["hundred", "hundred", "thousand"])
    start = f"{ONES[draw.randrange(1, 10)]} {unit}"
    return f"{start} and {number(draw)}" if draw.random() < 0.5 else start


def clock_time(draw: random.Random) -> str:
    """A time of day."""
    hour = ONES[draw.randrange(1, 13)]
    kind = draw.randrange(4)
    if kind == 0:
        return f"{hour} o'clock"
    if kind == 1:
        return f"half past {hour}"
    if kind == 2:
        return f"{hour} {draw.choice(['fifteen', 'thirty', 'forty five'])}"
    minutes = draw.choice(["quarter", "ten", "twenty"])
    return f"{minutes} {draw.choice(['past', 'to'])} {hour}"


def year(draw: random.Random) -> str:
    """A year of the last or this century."""
    if draw.random() < 0.7:
        return (
            f"nineteen {number(draw, 90) if draw.random() < 0.2 else draw.choice(TENS)}"
        )
    return f"twenty {draw.choice([*ONES[10:], *TENS[:2]])}"


def ordinal(draw: random.Random) -> str:
    """The day of a month."""
    value = draw.randrange(1, 32)
    if value < 20:
        return ORDINALS[value - 1]
    tens, ones = divmod(value, 10)
    if not ones:
        return {2: "twentieth", 3: "thirtieth"}[tens]
    return f"{TENS[tens - 2]} {ORDINALS[ones - 1]}"


MADE: dict[str, Callable[[random.Random], str]] = {
    "number": number,
    "small": lambda draw: ONES[draw.randrange(2, 10)],
    "big": big_number,
    "time": clock_time,
    "year": year,
    "ordinal": ordinal,
}


def sentence(draw: random.Random) -> str:
    """One sentence of the grammar."""
    text = draw.choice(TEMPLATES)

    def fill(match: re.Match[str]) -> str:
        slot = match.group(1)
        return MADE[slot](draw) if slot in MADE else draw.choice(SLOTS[slot])

    while "{" in text:
        text = re.sub(r"\{(\w+)\}", fill, text)
    return text[0].upper() + text[1:]


def words(line: str) -> set[str]:
    """The words of a sentence."""
    return {word.strip(".,?:") for word in line.split()}


def main() -> int:
    """Write the lists; the exit code."""
    draw = random.Random(SEED)
    counts = {"held_out": HELD_OUT, "validation": VALIDATION, "training": TRAINING}
    lists: dict[str, list[str]] = {}
    seen: set[str] = set()
    for name, count in counts.items():
        lines = lists[name] = []
        while len(lines) < count:
            line = sentence(draw)
            # What everybody says ("Stop.") is for the training alone.
            short = line.count(" ") < 3
            if line not in seen and not (short and name != "training"):
                seen.add(line)
                lines.append(line)
    learnt = {word for line in lists["training"] for word in words(line)}
    for name, lines in lists.items():
        # Nobody is asked to recognise a word that was never said.
        kept = [line for line in lines if words(line) <= learnt]
        path = HERE / "sentences" / f"recogniser_{name}.txt"
        with replacing_file(path) as temporary:
            temporary.write_text("\n".join(kept) + "\n", encoding="utf-8")
    variants = list(GRAMMAR["variants"])
    draw.shuffle(variants)
    voices = {
        "accents": GRAMMAR["accents"],
        "rates": RATES,
        "pitches": PITCHES,
        "heard": sorted(variants[UNHEARD_VARIANTS:]),
        "unheard": sorted(variants[:UNHEARD_VARIANTS]),
    }
    text = json.dumps(voices, indent=1) + "\n"
    with replacing_file(HERE / "recogniser_voices.json") as temporary:
        temporary.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
