"""From a layout of windows to the arrays of a training batch.

Sounds are put together, made louder or softer and perhaps noisy; transcripts become
tokens in Whisper's format (Radford et al. 2022, section 2.3), which knows times,
prompts and windows without speech. Masks are those of SpecAugment (Park et al. 2019).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from mlx_speech.audio import load
from mlx_speech.corpus import Utterance
from mlx_speech.whisper.ctc_labels import CtcLabels
from mlx_speech.whisper.own_vocabulary import spoken_form
from mlx_speech.whisper.tokenizer import Tokenizer
from mlx_speech.whisper.training_config import WhisperTrainConfig
from mlx_speech.whisper.training_windows import Clip, Window

SAMPLE_RATE = 16_000
FRAME_SAMPLES = 160
POSITION_SAMPLES = 320
# Cropped windows are multiples of so many samples, for few shapes.
_CROP_SAMPLES = 8 * POSITION_SAMPLES
_LATEST_FIRST_TIME = 50
# Recordings whose text prompts a window: often enough to fill the room for it.
_MOST_PROMPTING = 24
# Softest level in dB, and the widest masks.
_LEVELS = (-20.0, 0.0)
_MEL_MASK = 15
_FRAME_MASK = 25
# Of a longer recording, a louder moment elsewhere lifts the floor of the spectrogram:
# how often, and by how many powers of ten.
_LOUDER_ELSEWHERE = 0.3
_MOST_LOUDER = 1.0
_NOISE_SECONDS = 20
_COLOURS = (0.0, 0.5, 1.0)
# A blank text that the rules of decoding allow: a space may not come first.
_SILENCE = "\n"


@dataclass(frozen=True)
class Batch:
    """Arrays of one step; b windows, s samples, l tokens, f frames, m mel bands.

    Attributes:
        audio_bs: float32, 16 kHz.
        frames_b: frames of each window until its recording ends.
        louder_b: how much louder the recording is elsewhere, in powers of ten.
        kept_bf, kept_bm: 0 where frames and bands are masked, else 1.
        tokens_bl, targets_bl: ids that the decoder is given, and shall answer.
        counted_bl: 1 where the answer counts, else 0.
        positions_b, labels_bn, label_lengths_b: for CTC.
    """

    audio_bs: np.ndarray
    frames_b: np.ndarray
    louder_b: np.ndarray
    kept_bf: np.ndarray
    kept_bm: np.ndarray
    tokens_bl: np.ndarray
    targets_bl: np.ndarray
    counted_bl: np.ndarray
    positions_b: np.ndarray
    labels_bn: np.ndarray
    label_lengths_b: np.ndarray


@dataclass
class BatchMaker:
    """Makes batches of windows.

    Args:
        utterances, clips: the recordings that windows refer to, and their sizes.
        tokenizer: of the model.
        labels: of CTC.
        config: how often what happens.
        window: samples.
        n_mels: bands.
        most_tokens: of the decoder.
    """

    utterances: Sequence[Utterance]
    clips: Sequence[Clip]
    tokenizer: Tokenizer
    labels: CtcLabels
    config: WhisperTrainConfig
    window: int
    n_mels: int
    most_tokens: int
    _noises: list[np.ndarray] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        draw = np.random.default_rng(self.config.seed)
        samples = max(_NOISE_SECONDS * SAMPLE_RATE, 2 * self.window)
        self._noises = [_coloured(samples, slope, draw) for slope in _COLOURS]

    def make(self, windows: Sequence[Window], seed: Sequence[int]) -> Batch:
        """Put the sounds and tokens of ``windows`` together; ``seed`` fixes chance."""
        draw = np.random.default_rng(list(seed))
        size = self._size(windows)
        frames = size // FRAME_SAMPLES
        texts = [self._tokens(window, draw) for window in windows]
        labels = [self._labels(window) for window in windows]
        length = max(len(given) for given, _ in texts)
        # Few lengths, so that memory that is kept for one serves the others.
        length = min(-(-length // 16) * 16, self.most_tokens)
        tokens = np.full((len(windows), length), self.tokenizer.eot, np.int32)
        targets, counted = tokens.copy(), np.zeros(tokens.shape, np.float32)
        for row, (given, start) in enumerate(texts):
            count = len(given) - 1
            tokens[row, :count] = given[:-1]
            targets[row, :count] = given[1:]
            counted[row, start - 1 : count] = 1.0
        most = max(1, max(len(each) for each, _ in labels))
        return Batch(
            audio_bs=np.stack([self._sound(window, draw)[:size] for window in windows]),
            frames_b=np.array([each.content // FRAME_SAMPLES for each in windows]),
            louder_b=_louder(len(windows), draw),
            kept_bf=np.stack(
                [
                    _mask(frames, self.config.time_masks, _FRAME_MASK, draw)
                    for _ in windows
                ]
            ),
            kept_bm=np.stack(
                [
                    _mask(self.n_mels, self.config.frequency_masks, _MEL_MASK, draw)
                    for _ in windows
                ]
            ),
            tokens_bl=tokens,
            targets_bl=targets,
            counted_bl=counted,
            positions_b=np.array([positions for _, positions in labels]),
            labels_bn=np.array([each + [0] * (most - len(each)) for each, _ in labels]),
            label_lengths_b=np.array([len(each) for each, _ in labels]),
        )

    def _size(self, windows: Sequence[Window]) -> int:
        """Samples of the windows of a batch."""
        if not self.config.crop:
            return self.window
        longest = max(window.content for window in windows)
        return min(-(-longest // _CROP_SAMPLES) * _CROP_SAMPLES, self.window)

    def _sound(self, window: Window, draw: np.random.Generator) -> np.ndarray:
        sound = np.zeros(self.window, np.float32)
        for placed in window.placed:
            samples, _ = load(self.utterances[placed.clip].audio_path, SAMPLE_RATE)
            start, lost = max(placed.start, 0), max(-placed.start, 0)
            samples = samples[lost : lost + self.window - start]
            sound[start : start + len(samples)] = samples
        # A recording may hold nothing but zeros.
        power = float(np.mean(np.square(sound[sound != 0]))) if sound.any() else 0.01
        if draw.random() < self.config.noise_share or not window.placed:
            noise = self._noises[draw.integers(len(self._noises))]
            first = draw.integers(len(noise) - self.window)
            low, high = self.config.noise_snr
            decibels = draw.uniform(low, high)
            scale = np.sqrt(power) * 10 ** (-decibels / 20)
            sound = sound + scale * noise[first : first + self.window]
        sound *= 10 ** (draw.uniform(*_LEVELS) / 20)
        sound[window.content :] = 0.0
        return sound.astype(np.float32)

    def _tokens(
        self, window: Window, draw: np.random.Generator
    ) -> tuple[list[int], int]:
        """Ids of a whole transcript, and the place of the first that counts."""
        tokenizer, config = self.tokenizer, self.config
        special = tokenizer.special
        if not window.placed:
            return [special.sot, special.no_speech, special.eot], 1
        cut = window.placed[-1].cut
        timed = cut or draw.random() < config.timestamps_share
        start = list(tokenizer.sot_sequence(config.language, config.task, timed))
        text: list[int] = []
        for placed in window.placed:
            said = tokenizer.encode(spoken_form(self.utterances[placed.clip].text))
            if timed:
                end = placed.start + self.clips[placed.clip].samples
                begins = max(placed.start, 0) // POSITION_SAMPLES
                # Decoding allows no later time at the beginning of a transcript.
                begins = begins if text else min(begins, _LATEST_FIRST_TIME)
                first = special.timestamp_begin + begins
                last = -(-end // POSITION_SAMPLES)
                last = special.timestamp_begin + min(last, special.timestamps - 1)
                said = [first] if placed.cut else [first, *said, last]
            text += said
        if cut and len(window.placed) == 1:
            # A time alone makes transcription go on after the window. Two of them
            # make it go on there, but only after text: that of silence is blank.
            late = special.timestamp_begin + window.placed[0].start // POSITION_SAMPLES
            silence = tokenizer.encode(_SILENCE)
            text = [special.timestamp_begin, *silence, late, late]
        prompt = self._prompt(
            draw, timed, self.most_tokens - len(start) - len(text) - 2
        )
        given = [*prompt, *start, *text, special.eot]
        return given, len(prompt) + len(start)

    def _prompt(self, draw: np.random.Generator, timed: bool, room: int) -> list[int]:
        """Text of other recordings, as if it had been said before.

        Transcription prompts with the times that it has written.
        """
        special = self.tokenizer.special
        room = min(room, self.most_tokens // 2 - 1)
        if draw.random() >= self.config.prompt_share or room < 1:
            return []
        text: list[int] = []
        count = draw.integers(1, _MOST_PROMPTING + 1)
        for index in draw.integers(len(self.utterances), size=count):
            said = self.tokenizer.encode(spoken_form(self.utterances[index].text))
            if timed:
                length = self.clips[index].samples // POSITION_SAMPLES
                latest = max(self.window // POSITION_SAMPLES - length, 0)
                first = special.timestamp_begin + int(draw.integers(latest + 1))
                said = [first, *said, first + length]
            text += said
        return [special.sot_prev, *text[-room:]]

    def _labels(self, window: Window) -> tuple[list[int], int]:
        """CTC's labels, and the positions in which they are said."""
        found: list[int] = []
        end = window.content
        for placed in window.placed:
            if placed.cut:  # nobody knows how much of it is heard
                end = placed.start
            else:
                found += self.labels.encode(self.utterances[placed.clip].text)
        return found, max(end // POSITION_SAMPLES, 1)


def _coloured(samples: int, slope: float, draw: np.random.Generator) -> np.ndarray:
    """Noise of unit power whose amplitude falls with frequency to the ``slope``."""
    spectrum = np.fft.rfft(draw.standard_normal(samples))
    frequencies = np.maximum(np.arange(len(spectrum)), samples * 50 / SAMPLE_RATE)
    noise = np.fft.irfft(spectrum / frequencies**slope, samples)
    return (noise / noise.std()).astype(np.float32)


def _louder(rows: int, draw: np.random.Generator) -> np.ndarray:
    louder = draw.uniform(0.0, _MOST_LOUDER, rows)
    return np.where(draw.random(rows) < _LOUDER_ELSEWHERE, louder, 0.0)


def _mask(size: int, count: int, widest: int, draw: np.random.Generator) -> np.ndarray:
    kept = np.ones(size, np.float32)
    for _ in range(count):
        width = int(draw.integers(widest + 1))
        first = int(draw.integers(max(size - width, 1)))
        kept[first : first + width] = 0.0
    return kept
