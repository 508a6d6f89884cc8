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

HERE = Path(__file__).parent
SEED = 20261124
TRAINING, VALIDATION, HELD_OUT = 6000, 120, 300

ONES = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen "
    "fourteen fifteen sixteen seventeen eighteen nineteen"
).split()
TENS = "twenty thirty forty fifty sixty seventy eighty ninety".split()
ORDINALS = (
    "first second third fourth fifth sixth seventh eighth ninth tenth eleventh twelfth "
    "thirteenth fourteenth fifteenth sixteenth seventeenth eighteenth nineteenth"
).split()
SLOTS: dict[str, list[str]] = {
    "digit": ONES[:10],
    "month": (
        "January February March April May June July August September October November "
        "December"
    ).split(),
    "weekday": "Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split(),
    "part": ["in the morning", "in the afternoon", "in the evening", "at night"],
    "day": ["today", "tomorrow", "tonight", "this morning", "next week"],
    "name": (
        "Anna Brian Carol Daniel Emma Frank Grace Henry Irene Jacob Karen Laura Martin "
        "Nora Oliver Peter Rachel Simon Susan Thomas Victor William"
    ).split(),
    "city": (
        "London Paris Berlin Madrid Rome Vienna Boston Chicago Dallas Denver Seattle "
        "Tokyo Sydney Moscow Toronto"
    ).split(),
    "device": ["lights", "heating", "radio", "television", "fan", "computer", "oven"],
    "room": ["kitchen", "bedroom", "bathroom", "garden", "office", "garage", "hall"],
    "food": (
        "apples bread butter cheese coffee eggs milk onions oranges potatoes rice "
        "salt sugar tea tomatoes"
    ).split(),
    "color": "black blue brown green orange red white yellow".split(),
    "thing": "bag book box car chair coat door house shirt table window".split(),
    "animal": "bird cat cow dog fish horse mouse sheep".split(),
    "genre": "classical country dance folk jazz piano rock".split(),
    "place": ["airport", "bank", "hospital", "library", "market", "school", "station"],
    "weather": "cloudy cold dry hot rainy sunny warm windy".split(),
    "unit": ["seconds", "minutes", "hours", "days", "weeks", "months", "years"],
    "task": [
        "call the doctor",
        "buy some {food}",
        "feed the {animal}",
        "pay the bill",
        "send the letter",
        "clean the {room}",
        "water the plants",
        "write to {name}",
        "close the {thing}",
        "go to the {place}",
    ],
}
TEMPLATES = """
Turn on the {device} in the {room}.
Turn off the {device} in the {room}.
Switch the {device} on at {time}.
Please turn the {device} off {day}.
Turn the volume up to {number} percent.
Turn the volume down.
Set the {device} to {number} degrees.
Set a timer for {number} {unit}.
Set an alarm for {time} {part}.
Wake me up at {time} on {weekday}.
Cancel the alarm for {time}.
Call {name}.
Please call {name} on {weekday}.
Call {name} at {time}.
Send a message to {name} and {name}.
Tell {name} that I will be late.
Tell {name} that I am at the {place}.
Remind me to {task} at {time}.
Remind me to {task} on {weekday}.
Remind {name} to {task} {day}.
What time is it in {city}?
What is the weather in {city} {day}?
Will it be {weather} in {city} on {weekday}?
It will be {weather} and {weather} in {city}.
It was {weather} in {city} on {weekday}.
Is it {weather} {day}?
Play some {genre} music in the {room}.
Play the {ordinal} song again.
Stop the music.
Play the next song.
The meeting is on {weekday} at {time}.
The meeting with {name} is on {month} {ordinal}.
We will meet at the {place} at {time}.
{name} was born on {month} {ordinal}, {year}.
Today is {weekday}, {month} {ordinal}.
The party is on the {ordinal} of {month}.
It happened in {month} {year}.
Add {food} and {food} to the shopping list.
Buy {number} {food} and some {food}.
I would like {food}, {food} and {food}.
Do we have any {food}?
There are {number} {food} in the {color} box.
{number} plus {number} is {number}.
{number} minus {number} is {number}.
How much is {number} times {number}?
My number is {digit} {digit} {digit} {digit} {digit}.
The code is {digit} {digit} {digit} {digit}.
Dial {digit} {digit} {digit}, {digit} {digit} {digit}.
Open file number {big}.
The {color} {thing} costs {big} dollars.
The {color} {thing} is in the {room}.
Where is the {color} {thing}?
{name} has a {color} {thing} and a {animal}.
The {animal} is under the {color} {thing}.
I saw a {color} {animal} near the {place}.
Open the {thing} in the {room}.
Close the {color} {thing}, please.
{name} and {name} live in {city}.
{name} lives at {big} {city} street.
{name} arrives in {city} at {time}.
The train to {city} leaves at {time}.
The train from {city} is {number} minutes late.
How far is it from {city} to {city}?
It is {big} miles from {city} to {city}.
I need a ticket to {city} for {weekday}.
Book a table for {small} at {time}.
Book a room in {city} for {small} nights.
How do I get to the {place}?
The {place} is open until {time}.
The {place} is closed on {weekday}.
Turn left at the {place}, then turn right.
{name} works at the {place} in {city}.
She will come back in {number} {unit}.
He was away for {number} {unit}.
They bought a {color} {thing} for {name}.
I have been here for {number} {unit}.
Good morning, {name}.
Good evening, {name}.
Thank you very much, {name}.
Yes, please.
No, thank you.
Go back.
Stop.
Help.
Start again.
What did {name} say?
Where does {name} live?
Who is {name}?
When does the train to {city} leave?
Read the message from {name}.
Delete the message from {name}.
Show me the way to the {place}.
Take a note: {task}.
The answer is {number}.
{number}.
{big}.
{weekday} at {time}.
{month} {ordinal}.
{color} and {color}.
{digit} {digit} {digit}.
""".split("\n")
# Accents that every voice variant is combined with.
ACCENTS = (
    "en-us en-gb en-gb-x-rp en-gb-scotland en-gb-x-gbclan en-gb-x-gbcwmd en-029"
).split()
# Variants of espeak-ng 1.51 whose speech an English listener follows.
VARIANTS = (
    "Alex Alicia Andrea Andy Annie Denis Diogo Gene Gene2 Henrique Hugo Jacky Lee "
    "Marco Mario Michael Mike Nguyen RicishayMax RicishayMax2 RicishayMax3 Storm "
    "Tweaky adam anika announcer antonio aunty belinda benjamin boris caleb david ed "
    "edward edward2 f1 f2 f3 f4 f5 gustave iven iven2 iven3 iven4 john kaukovalta "
    "linda m1 m2 m3 m4 m5 m6 m7 m8 marcelo max michel miguel norbert pablo paul pedro "
    "quincy rob robert sandro shelby steph steph2 steph3 travis victor zac"
).split()
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
    return f"{draw.choice(['quarter', 'ten', 'twenty'])} {draw.choice(['past', 'to'])} {hour}"


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
    text = draw.choice([template for template in TEMPLATES if template])

    def fill(match: re.Match[str]) -> str:
        slot = match.group(1)
        return MADE[slot](draw) if slot in MADE else draw.choice(SLOTS[slot])

    while "{" in text:
        text = re.sub(r"\{(\w+)\}", fill, text)
    return text[0].upper() + text[1:]


def main() -> int:
    """Write the lists; the exit code."""
    draw = random.Random(SEED)
    counts = {"held_out": HELD_OUT, "validation": VALIDATION, "training": TRAINING}
    seen: set[str] = set()
    for name, count in counts.items():
        lines: list[str] = []
        while len(lines) < count:
            line = sentence(draw)
            # What everybody says ("Stop.") is for the training alone.
            short = line.count(" ") < 3
            if line not in seen and not (short and name != "training"):
                seen.add(line)
                lines.append(line)
        path = HERE / "sentences" / f"recogniser_{name}.txt"
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    variants = list(VARIANTS)
    draw.shuffle(variants)
    voices = {
        "accents": ACCENTS,
        "rates": RATES,
        "pitches": PITCHES,
        "heard": sorted(variants[UNHEARD_VARIANTS:]),
        "unheard": sorted(variants[:UNHEARD_VARIANTS]),
    }
    text = json.dumps(voices, indent=1) + "\n"
    (HERE / "recogniser_voices.json").write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
