"""Words, segments and their times, of tokens with times."""

from __future__ import annotations

import pytest

from mlx_speech.voxtral.realtime_words import SegmentBuilder, WordBuilder
from mlx_speech.voxtral.tokenizer import Tekken
from mlx_speech.writers import Segment, Word

PAD, WORD = 32, 33


def spoken(
    tekken: Tekken, parts: list[tuple[float, str]]
) -> tuple[str, list[Word], list[Segment]]:
    """Words of texts that begin at times, a token every 80 ms."""
    words, segments = WordBuilder(tekken), SegmentBuilder()
    found: list[Word] = []
    made: list[Segment] = []
    text = ""
    for start, part in parts:
        text += words.add(PAD, start - 0.16, 0.5) + words.add(WORD, start - 0.08, 0.5)
        for index, token in enumerate(tekken.encode(part)):
            text += words.add(token, start + 0.08 * index, 0.9)
        new = words.finished()
        found += new
        made += [segment for word in new for segment in segments.add(word)]
    text += words.finish()
    rest = words.finished()
    made += [segment for word in rest for segment in segments.add(word)]
    return text, found + rest, made + segments.finish()


def test_words_begin_with_spaces_and_have_the_times_of_their_tokens(
    tekken: Tekken,
) -> None:
    text, words, _ = spoken(tekken, [(1.0, " Hello"), (2.0, " my"), (2.4, "self")])
    assert text == "Hello myself"
    assert [word.word for word in words] == [" Hello", " myself"]
    # The space is a token of its own here: a word begins with its first letter.
    assert tekken.decode(tekken.encode(" Hello")[:1]) == " "
    count = len(tekken.encode(" Hello"))
    assert words[0].start == 1.08
    assert words[0].end == pytest.approx(1.0 + 0.08 * count)
    assert words[1].start == 2.08
    assert words[1].end == pytest.approx(2.4 + 0.08 * len(tekken.encode("self")))
    assert words[0].probability == pytest.approx(0.9)


def test_a_pause_cuts_where_no_spaces_are_written(tekken: Tekken) -> None:
    _, words, _ = spoken(tekken, [(0.0, "今"), (1.5, "天")])
    assert [word.word for word in words] == ["今", "天"]


def test_a_character_of_several_tokens_belongs_to_one_word(tekken: Tekken) -> None:
    text, words, _ = spoken(tekken, [(0.0, " नमस्ते"), (3.0, " é")])
    assert text == "नमस्ते é"
    assert [word.word for word in words] == [" नमस्ते", " é"]


def test_segments_end_with_sentences_at_pauses_and_before_they_are_long(
    tekken: Tekken,
) -> None:
    parts = [(0.0, " One"), (0.4, " two."), (0.8, " Three"), (4.0, " four")]
    parts += [(5.0 + index, " on") for index in range(9)]
    _, words, segments = spoken(tekken, parts)
    texts = [segment.text for segment in segments]
    assert texts[:2] == [" One two.", " Three"]
    assert texts[2].startswith(" four on") and len(texts) == 4
    assert all(segment.end - segment.start <= 8.0 for segment in segments)
    assert [segment.id for segment in segments] == [0, 1, 2, 3]
    assert [word for segment in segments for word in segment.words or ()] == words


def test_no_space_is_lost(tekken: Tekken) -> None:
    _, words, segments = spoken(tekken, [(0.0, " a"), (0.3, "  "), (0.9, "\n b c")])
    assert "".join(word.word for word in words) == " a  \n b c"
    assert [word.word.strip() for word in words] == ["a", "b", "c"]
    assert words[1].start >= 0.9
    assert "".join(segment.text for segment in segments) == " a  \n b c"


def test_nothing_said_makes_nothing(tekken: Tekken) -> None:
    assert spoken(tekken, []) == ("", [], [])
