"""Which sentence of a list a recording says, by a small recogniser of 1990s make.

A judge that never saw our models: pocketsphinx with the acoustic model of its wheel
(the `test` extra). Its grammar holds whole sentences only, so guessing is right once in
as many. :func:`shuffled` makes the control: the same sound with its words destroyed
must fall to that chance.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from mlx_speech.audio import resample
from mlx_speech.errors import SpeechError
from mlx_speech.text.english import pronounce
from mlx_speech.text.normalize import normalize

SAMPLE_RATE = 16_000
# Digital silence has the logarithm of nothing, and the recogniser then hears little
# else. Measured on 32 espeak-ng sentences of one voice: 4 right with hardly any dither,
# 16 with more, 27 when the sound is quieter, 31 with quiet before and after it too.
PEAK = 0.2
DITHER = 0.002
QUIET_SECONDS = 0.2
# Narrow beams drop the right sentence half-way and return a part of it, or none.
BEAMS = {"beam": 1e-64, "wbeam": 1e-40, "pbeam": 1e-64}


class SentenceRecogniser:
    """Hears which of ``sentences`` is said.

    Args:
        sentences: at least two, in English; they should differ in most words. Words
            that the recogniser's dictionary lacks get our own pronunciation.

    Raises:
        SpeechError: pocketsphinx is not installed, or sentences that cannot be told
            apart.
    """

    def __init__(self, sentences: Sequence[str]) -> None:
        try:
            from pocketsphinx import Decoder
        except ImportError as error:
            raise SpeechError(
                "recognising sentences needs pocketsphinx",
                "pip install '.[test]' in the checkout",
            ) from error
        words = [spoken_words(sentence) for sentence in sentences]
        if len(set(words)) != len(words) or len(words) < 2 or () in words:
            raise SpeechError(
                f"{len(set(words))} different sentences of {len(words)} are no choice",
                "give at least two sentences, each different from the others",
            )
        self.sentences = tuple(sentences)
        self._index = {" ".join(each): index for index, each in enumerate(words)}
        self._decoder = Decoder(lm=None, cmn="batch", loglevel="FATAL", **BEAMS)
        for word in sorted({word for each in words for word in each}):
            if self._decoder.lookup_word(word) is None:
                phones = [re.sub(r"\d", "", symbol) for symbol in pronounce(word)]
                self._decoder.add_word(word, " ".join(phones), True)
        choices = " | ".join(self._index)
        self._decoder.add_jsgf_string(
            "sentences", f"#JSGF V1.0;\ngrammar sentences;\npublic <any> = {choices};\n"
        )
        self._decoder.activate_search("sentences")

    def recognise(self, samples: np.ndarray, sample_rate: int) -> int | None:
        """Index of the sentence that is heard; None where none fits to its end.

        The dither is the same for equal lengths: two calls hear the same.

        Args:
            samples: [samples], mono, any level.
            sample_rate: in hertz.

        Raises:
            SpeechError: silence, an empty array, or values that are not finite.
        """
        audio = resample(np.asarray(samples, np.float32), sample_rate, SAMPLE_RATE)
        peak = np.abs(audio).max(initial=0.0)
        if not 0.0 < peak < np.inf:
            raise SpeechError("there is no sound to recognise")
        quiet = np.zeros(round(QUIET_SECONDS * SAMPLE_RATE), np.float32)
        audio = np.concatenate([quiet, audio * (PEAK / peak), quiet])
        noise = np.random.default_rng(0).normal(scale=DITHER, size=len(audio))
        pcm = np.round(32767.0 * np.clip(audio + noise, -1.0, 1.0)).astype("<i2")
        self._decoder.start_utt()
        self._decoder.process_raw(pcm.tobytes(), no_search=False, full_utt=True)
        self._decoder.end_utt()
        heard = self._decoder.hyp()
        return None if heard is None else self._index.get(heard.hypstr)

    def share_recognised(
        self, recordings: Sequence[np.ndarray], sample_rate: int
    ) -> float:
        """Share of recordings heard as the sentence of the same place in the list."""
        if len(recordings) != len(self.sentences):
            raise SpeechError(
                f"{len(recordings)} recordings for {len(self.sentences)} sentences",
                "give one recording of each sentence, in order",
            )
        heard = [self.recognise(samples, sample_rate) for samples in recordings]
        return float(np.mean([each == index for index, each in enumerate(heard)]))


def spoken_words(sentence: str) -> tuple[str, ...]:
    """Lower-case words of ``sentence``, with numbers and abbreviations written out."""
    return tuple(re.findall(r"[a-z][a-z']*", normalize(sentence)))


def shuffled(
    samples: np.ndarray,
    sample_rate: int,
    shortest: float = 0.05,
    longest: float = 0.1,
    seed: int = 0,
) -> np.ndarray:
    """The same sound with its pieces of ``shortest`` to ``longest`` seconds mixed up.

    Returns:
        An array of the same samples in another order.
    """
    generator = np.random.default_rng(seed)
    low, high = round(shortest * sample_rate), round(longest * sample_rate)
    cuts = np.cumsum(generator.integers(low, high + 1, size=len(samples) // low + 1))
    ends = [0, *cuts[cuts < len(samples)], len(samples)]
    pieces = [samples[start:end] for start, end in pairwise(ends)]
    order = generator.permutation(len(pieces))
    return np.concatenate([pieces[index] for index in order])
