"""Make ``whisper_normalizer.json.xz``: what openai-whisper's normalisers return.

    python tests/goldens/make_whisper_normalizer.py      # needs openai-whisper

Rows of phrase, EnglishTextNormalizer, BasicTextNormalizer, the same without
diacritics. Some phrases are written down here, the rest drawn from number words and
from the marks that the rules look for.
"""

from __future__ import annotations

import json
import lzma
import random
from pathlib import Path

from whisper.normalizers import BasicTextNormalizer, EnglishTextNormalizer
from whisper.normalizers.english import EnglishNumberNormalizer

PHRASES = """\
Hello, World!
I won't say that you can't; let's see, ain't it y'all?
He'd been there, she's gone, they'd done it, it's got to be we'll've.
I'ma go, imma go, gonna, gotta, wanna, woulda, coulda, shoulda, ma'am
Mr. Smith and Mrs. Jones of St. Ives met Dr. Who, Prof. X, Capt. Kirk
Gov. Ald. Gen. Sen. Rep. Pres. Rev. Hon. Asst. Assoc. Lt. Col. Jr. Sr. Esq.
[laughter] so (he said) <noise> well (
[unclosed bracket and (unclosed parenthesis
hmm, mm, mhm, mmm, uh, um, umm, hmmm
the colour of the aluminium theatre's centre, mobilise and analyse travellers
it 's a dog 's life; rock ' n ' roll
1,000,000 and 1,2,3 and 10,00
Twenty-five dollars and seventy-five cents
twenty five dollars and seven cents
$20 million, £1.50, €3, ¢7, $0.07, $0.5, 20 $, cost $ a lot
10 percent, ten per cent, ten per hour, percent, per cent, 3%, % of
two hundred and one thousand three hundred and forty two
two and a half million, a mile and a half, and a half, ten and a half and a half
thousand and a half hundred and a half
nineteen ninety nine, twenty twenty, two thousand and ten, nineteen sixties
the nineties and the 1990s, 21 st, 22nd, 23 rd, 4 th, 5 s, 5 sheep, 1 1s ones one
one oh one, double oh seven, triple five, double trouble, double, one double two three
three point one four one five nine, point five, the point is, one point, point point one
one point two point three point four, 192.168.0.1, 3.0, 3.50, 007, 0.0
minus five, plus ten, negative, positive thinking, minus minus three, minus and
minus five dollars, five pounds, ten euros, dollars, five cents, pound
first second third fourth fifth sixth seventh eighth ninth nineth tenth twelfth zeroth
twenty first, thirtieth, hundredth, two hundredth, two thousandth, millionths, billions
sixes, twos, eighteens, forties, hundreds of thousands of millions, zero hundred
one hundred twenty three million four hundred fifty six thousand seven hundred eighty
one thousand million billion trillion, quadrillion quintillion, sextillion decillion
1.5 million, 1.23 hundred, 2.5 thousand, 1.2345 thousand, 0 million, oh million
five hundred thousand and, and five, hundred and five, thousand and and five
o zero oh o, zero point zero, zeroth zero, a1b2c3, covid19, b2b, 4x4, mp3s
twenty three forty five, eleven twelve, one eleven, one hundred eleven, ninety nine ten
ten twenty five thirty, one two three four five, five twenty, hundred hundred
+5 -5 +-5 5+5 5-5 -$5 $-5 €£$¢ $$5 ¢¢5 $5.5.5 $5 and ¢7 $5 ¢70
naïve café Ærøskøbing straße ŁÓDŹ þorn Þorn Đorđe œuvre ẞ ﬁne ½ ² ①
Привет, мир! Ёлка 你好\uff0c世界。 こんにちは مرحبا नमस्ते สวัสดี 안녕 😀 🎧
don\u2019t \u201cquote\u201d \u2014 dash \u2026 tab\there new\u00a0space\u3000wide
e-mail: someone@example.com; http://x.y/z?a=1&b=2#c
3 . 5 .5 5. a.b a.5 ... . $. %. 5%5 %5 5%
\u0663 \u0664\u066b\u0665 \uff11\uff12\uff13 12:30 a.m. on 1/2/2003
i 'm you 're he 'd we 've o 'clock 'tis
a\u0301 e\u0301\u0302 \u00e5\u030a
"""
NUMBERS = (
    "o oh zero one two three five ten eleven twelve nineteen twenty thirty ninety "
    "hundred thousand million billion first second third sixth ninth tenth twentieth "
    "hundredth thousandths ones twos sixes tens twenties hundreds minus plus negative "
    "pound dollars cents euros per cent percent and double triple point 0 1 7 10 42 "
    "100 1000 3.5 0.25 2.0 $5 £0.50 -3 +4 ¢9 5% word half a and-a-half 1,500 20s 4th x9"
)
PIECES = (
    "' 's 'd been 'll n't . , ; - ( ) [ ] < > $ % ¢ € £ mr. st dr uh um é ß œ “ ” — 1 "
    "2 50 one colour grey he she it they won't can't 5 . 0 ½ \u0301 \u3001 日本"
)


def phrases() -> list[str]:
    """All phrases, the same in every run."""
    draw = random.Random(1)
    made = ["", " ", *PHRASES.splitlines()]
    for _ in range(1500):
        count = draw.randrange(1, 9)
        made.append(" ".join(draw.choice(NUMBERS.split()) for _ in range(count)))
    for _ in range(700):
        pieces = [draw.choice(PIECES.split()) for _ in range(draw.randrange(1, 12))]
        made.append(draw.choice(["", " "]).join(pieces))
    tables = EnglishNumberNormalizer()
    made += [f"two {word} three" for word in sorted(tables.words)]
    made += [f"{word} and a half" for word in sorted(tables.words)]
    return list(dict.fromkeys(made))


def main() -> None:
    """Write the rows; a phrase that the reference cannot take is left out."""
    english = EnglishTextNormalizer()
    basic, bare = BasicTextNormalizer(), BasicTextNormalizer(remove_diacritics=True)
    rows = []
    for phrase in phrases():
        try:
            rows.append([phrase, english(phrase), basic(phrase), bare(phrase)])
        except (AssertionError, ValueError) as error:
            print(f"left out: {phrase!r}: {error!r}")
    packed = lzma.compress(json.dumps(rows, ensure_ascii=False).encode(), preset=9)
    Path(__file__).with_name("whisper_normalizer.json.xz").write_bytes(packed)
    print(f"{len(rows)} phrases, {len(packed)} bytes")


if __name__ == "__main__":
    main()
