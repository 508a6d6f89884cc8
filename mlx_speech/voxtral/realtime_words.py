"""Words and segments with their times, of tokens that know when they were heard.

Voxtral Realtime writes a token for each 80 ms of audio. A word lasts from its first
token to its last one; a segment is a sentence, or what stands between pauses.
"""

from __future__ import annotations

from mlx_speech.voxtral.realtime_audio import TOKEN_SECONDS
from mlx_speech.voxtral.tokenizer import Tekken
from mlx_speech.writers import Segment, Word

# After this much silence the next token begins a word, whatever it is: languages that
# write no spaces are cut there too.
_PAUSE_IN_WORD = 0.8
PAUSE_BETWEEN_SEGMENTS = 1.0
# Longer segments end at the next word, since they are subtitles.
LONGEST_SEGMENT = 8.0
_SENTENCE_ENDS = (".", "?", "!", "…", "。", "\N{FULLWIDTH QUESTION MARK}", "।", "؟")


class WordBuilder:
    """Text and words of tokens that come one at a time.

    Args:
        tokenizer: the model's.
    """

    def __init__(self, tokenizer: Tekken) -> None:
        self._stream = tokenizer.stream()
        self._first_text_id = tokenizer.n_special
        self._finished: list[Word] = []
        self._text = ""
        self._started = 0.0
        self._ended = 0.0
        self._chances: list[float] = []
        self._inside_character = False
        self._silent = True

    def add(self, token: int, seconds: float, probability: float) -> str:
        """Take the next token; give the text that it completes, perhaps none."""
        if token < self._first_text_id:
            return ""
        late = seconds - self._ended > _PAUSE_IN_WORD
        if late and not self._inside_character:
            self._close()
        continues = self._inside_character or self._text.strip()
        text = self._stream.add(token)
        self._inside_character = not text
        if text[:1].isspace():
            self._close()
            continues = ""
        if not continues:
            self._started, self._chances = seconds, []
        self._text += text
        self._chances.append(probability)
        self._ended = seconds + TOKEN_SECONDS
        return self._shown(text)

    def finish(self) -> str:
        """The text that was left over, when there are no more tokens."""
        text = self._stream.finish()
        self._text += text
        self._close()
        return self._shown(text)

    def finished(self) -> list[Word]:
        """The words that are complete now, each once."""
        words, self._finished = self._finished, []
        return words

    def _close(self) -> None:
        # Words of a transcription begin with their space.
        if not self._text.strip():
            return
        chance = sum(self._chances) / len(self._chances)
        self._finished.append(Word(self._text, self._started, self._ended, chance))
        self._text = ""

    def _shown(self, text: str) -> str:
        # A text does not begin with a space.
        shown = text.lstrip() if self._silent else text
        self._silent = self._silent and not shown
        return shown


class SegmentBuilder:
    """Segments of words that come one at a time."""

    def __init__(self) -> None:
        self._words: list[Word] = []
        self._count = 0

    def add(self, word: Word) -> list[Segment]:
        """Take the next word; give the segment that it ends or comes after, if any."""
        found = []
        if self._words:
            pause = word.start - self._words[-1].end
            seconds = word.end - self._words[0].start
            if pause > PAUSE_BETWEEN_SEGMENTS or seconds > LONGEST_SEGMENT:
                found += self.finish()
        self._words.append(word)
        if word.word.rstrip().endswith(_SENTENCE_ENDS):
            found += self.finish()
        return found

    def finish(self) -> list[Segment]:
        """The segment of the words that are left, if any."""
        words, self._words = self._words, []
        if not words:
            return []
        self._count += 1
        return [
            Segment(
                id=self._count - 1,
                seek=round(100 * words[0].start),
                start=words[0].start,
                end=words[-1].end,
                text="".join(word.word for word in words),
                words=words,
            )
        ]
