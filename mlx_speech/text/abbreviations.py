"""Tables of written short forms and what English speakers say for them."""

from __future__ import annotations

import re

# Each is written with a full stop and matched without regard to case.
# Never the end of a sentence: something must follow.
LEADING = {
    "mr": "mister",
    "mrs": "missus",
    "ms": "miz",
    "prof": "professor",
    "capt": "captain",
    "cmdr": "commander",
    "lt": "lieutenant",
    "sgt": "sergeant",
    "rev": "reverend",
    "vs": "versus",
    "approx": "approximately",
    "e.g": "for example",
    "i.e": "that is",
}
# May end a sentence, whose full stop then is the abbreviation's.
TRAILING = {
    "jr": "junior",
    "sr": "senior",
    "etc": "et cetera",
    "dept": "department",
    "govt": "government",
    "ave": "avenue",
    "blvd": "boulevard",
    "rd": "road",
    "inc": "incorporated",
    "ltd": "limited",
    "corp": "corporation",
    "bros": "brothers",
    "a.m": "ay m",
    "p.m": "p m",
    "ph.d": "p h d",
}
# Only before a capital letter: they are words otherwise.
BEFORE_NAME = {"gen": "general", "col": "colonel", "mt": "mount", "ft": "fort"}
# Only before a digit.
BEFORE_NUMBER = {
    "jan": "january",
    "feb": "february",
    "mar": "march",
    "apr": "april",
    "jun": "june",
    "jul": "july",
    "aug": "august",
    "sep": "september",
    "sept": "september",
    "oct": "october",
    "nov": "november",
    "dec": "december",
    "no": "number",
    "fig": "figure",
    "vol": "volume",
    "ch": "chapter",
    "pp": "pages",
}
# Before a name, and elsewhere (after one).
BY_POSITION = {"dr": ("doctor", "drive"), "st": ("saint", "street")}
# What ends in a name that does not begin the sentence, in front of such a form: the St.
# of "on Elm St." is no saint.
NAME_IN_SENTENCE = re.compile(r"[a-z\d]\s+(?:[A-Z]\w+\s+)+$")

# After a number: one of the unit, several.
UNITS = {
    "km": ("kilometer", "kilometers"),
    "m": ("meter", "meters"),
    "cm": ("centimeter", "centimeters"),
    "mm": ("millimeter", "millimeters"),
    "kg": ("kilogram", "kilograms"),
    "g": ("gram", "grams"),
    "mg": ("milligram", "milligrams"),
    "lb": ("pound", "pounds"),
    "lbs": ("pound", "pounds"),
    "oz": ("ounce", "ounces"),
    "ft": ("foot", "feet"),
    "mi": ("mile", "miles"),
    "mph": ("mile per hour", "miles per hour"),
    "km/h": ("kilometer per hour", "kilometers per hour"),
    "l": ("liter", "liters"),
    "ml": ("milliliter", "milliliters"),
    "s": ("second", "seconds"),
    "ms": ("millisecond", "milliseconds"),
    "min": ("minute", "minutes"),
    "hr": ("hour", "hours"),
    "hrs": ("hour", "hours"),
    "Hz": ("hertz", "hertz"),
    "kHz": ("kilohertz", "kilohertz"),
    "MHz": ("megahertz", "megahertz"),
    "GHz": ("gigahertz", "gigahertz"),
    "KB": ("kilobyte", "kilobytes"),
    "kB": ("kilobyte", "kilobytes"),
    "MB": ("megabyte", "megabytes"),
    "GB": ("gigabyte", "gigabytes"),
    "TB": ("terabyte", "terabytes"),
    "W": ("watt", "watts"),
    "kW": ("kilowatt", "kilowatts"),
    "V": ("volt", "volts"),
    "dB": ("decibel", "decibels"),
    "°C": ("degree celsius", "degrees celsius"),
    "°F": ("degree fahrenheit", "degrees fahrenheit"),
    "°": ("degree", "degrees"),
}

_MONTHS = (
    "january february march april may june july august september october november "
    "december"
)
MONTHS = tuple(_MONTHS.split())

# Spelled although the dictionary lists a word of these letters.
SPELLED = frozenset(("AI", "AM", "HR", "ID", "IT", "PM", "UK", "US", "VAT"))
# Words before a Roman numeral that is counted; after a name it is "the third".
_COUNTED = (
    "act appendix article book bowl chapter class level part phase section stage title "
    "type volume war world"
)
COUNTED = frozenset(_COUNTED.split())
