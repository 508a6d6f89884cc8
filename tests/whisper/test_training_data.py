"""Windows of a training: where recordings stand, what is said, what is heard."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import replace
from pathlib import Path

import mlx.core as mx
import numpy as np
import pytest

from mlx_speech.audio import save
from mlx_speech.corpus import Utterance
from mlx_speech.whisper.ctc_labels import CtcLabels
from mlx_speech.whisper.logit_rules import LogitRules
from mlx_speech.whisper.own_vocabulary import words_vocabulary
from mlx_speech.whisper.prompts import suppressed_tokens
from mlx_speech.whisper.segments import cut_window
from mlx_speech.whisper.tokenizer import Tokenizer
from mlx_speech.whisper.training_batches import BatchMaker
from mlx_speech.whisper.training_config import WhisperTrainConfig
from mlx_speech.whisper.training_windows import (
    Clip,
    Layout,
    Placed,
    Window,
    lay_out,
)

RATE, WINDOW = 16_000, 64_000
LAYOUT = Layout(
    window=WINDOW,
    sample_rate=RATE,
    most_tokens=30,
    pack=True,
    longest_pause=0.5,
    cut_share=0.3,
    silence_share=0.1,
)
CLIPS = [
    Clip(int(samples), 5)
    for samples in np.random.default_rng(0).integers(8_000, 40_000, 60)
]
TEXTS = ["Stop.", "Turn left, please.", "Go back."]


@pytest.fixture
def maker(tmp_path: Path) -> BatchMaker:
    """Makes batches of three recordings: ones, twos and threes, of a second each."""
    utterances = []
    for place, text in enumerate(TEXTS):
        path = tmp_path / f"{place}.wav"
        save(path, np.full(RATE, 0.1 * (place + 1), np.float32), RATE)
        utterances.append(Utterance(str(place), path, text))
    config = WhisperTrainConfig(
        noise_share=0.0, prompt_share=0.0, timestamps_share=1.0, data="x"
    )
    vocabulary = words_vocabulary(TEXTS, 300, 201)
    return BatchMaker(
        utterances,
        [Clip(RATE, 6)] * len(TEXTS),
        Tokenizer(vocabulary),
        CtcLabels("characters", TEXTS),
        config,
        WINDOW,
        80,
        60,
    )


def test_every_recording_is_whole_in_one_window_of_an_epoch() -> None:
    windows = lay_out(CLIPS, LAYOUT, seed=1, epoch=0)
    whole = Counter(p.clip for w in windows for p in w.placed if not p.cut)
    assert whole == Counter(range(len(CLIPS)))


def test_recordings_do_not_overlap_and_stay_within_their_window() -> None:
    for window in lay_out(CLIPS, LAYOUT, seed=1, epoch=0):
        end = 0
        for placed in window.placed:
            assert placed.start >= end
            end = placed.start + CLIPS[placed.clip].samples
        last = window.placed[-1] if window.placed else None
        if last and last.cut:
            assert end > WINDOW and WINDOW - last.start > 0.15 * RATE
            assert window.content == WINDOW
        else:
            assert end <= window.content <= WINDOW
        tokens = sum(CLIPS[p.clip].tokens for p in window.placed if not p.cut)
        assert tokens <= LAYOUT.most_tokens


def test_windows_are_cut_silent_or_packed_as_often_as_asked() -> None:
    windows = lay_out(CLIPS * 10, LAYOUT, seed=1, epoch=0)
    cut = sum(bool(w.placed) and w.placed[-1].cut for w in windows)
    silent = sum(not w.placed for w in windows)
    assert 0.1 < cut / len(windows) < 0.35
    assert silent == pytest.approx(0.1 * (len(windows) - silent), abs=1)
    alone = lay_out(CLIPS, replace(LAYOUT, pack=False, silence_share=0), 1, 0)
    assert all(len(w.placed) == 1 and not w.placed[0].cut for w in alone)


def test_an_epoch_is_a_function_of_seed_and_number() -> None:
    first = lay_out(CLIPS, LAYOUT, seed=1, epoch=0)
    assert first == lay_out(CLIPS, LAYOUT, seed=1, epoch=0)
    assert first != lay_out(CLIPS, LAYOUT, seed=1, epoch=1)
    assert first != lay_out(CLIPS, LAYOUT, seed=2, epoch=0)


def test_a_batch_holds_sounds_times_and_texts_where_they_belong(
    maker: BatchMaker,
) -> None:
    window = Window((Placed(1, 8_000), Placed(0, 30_400)), 50_000)
    batch = maker.make([window], (0,))
    sound = batch.audio_bs[0]
    level = sound[8_000] / 0.2
    assert 0.1 <= level <= 1.0
    np.testing.assert_allclose(sound[8_000:24_000], 0.2 * level, rtol=1e-3)
    np.testing.assert_allclose(sound[30_400:46_400], 0.1 * level, rtol=1e-3)
    assert not sound[:8_000].any() and not sound[24_000:30_400].any()
    assert not sound[46_400:].any()
    assert batch.frames_b[0] == 312

    said = maker.tokenizer.decode_with_timestamps(
        [t for t, c in zip(batch.targets_bl[0], batch.counted_bl[0], strict=True) if c]
    )
    assert said == (
        "<|0.50|> Turn left, please.<|1.50|><|1.90|> Stop.<|2.90|><|endoftext|>"
    )
    # The answer to each token is the next one; the start is given, not asked for.
    count = int(batch.counted_bl.sum())
    assert batch.tokens_bl[0, 0] == maker.tokenizer.special.sot
    np.testing.assert_array_equal(
        batch.tokens_bl[0, 1:count], batch.targets_bl[0, : count - 1]
    )
    assert batch.positions_b[0] == 50_000 // 320
    letters = "turnleftpleasestop"
    assert batch.label_lengths_b[0] == len(letters)
    assert batch.labels_bn[0].tolist() == maker.labels.encode(letters)


def test_of_a_recording_that_is_cut_off_only_the_beginning_is_written(
    maker: BatchMaker,
) -> None:
    window = Window((Placed(0, 0), Placed(2, 54_400, cut=True)), WINDOW)
    batch = maker.make([window], (0,))
    answer = batch.targets_bl[0][batch.counted_bl[0] > 0]
    said = maker.tokenizer.decode_with_timestamps(answer.tolist())
    assert said == "<|0.00|> Stop.<|1.00|><|3.40|><|endoftext|>"
    # Nobody knows how much of it can be heard, so CTC hears none of it.
    assert batch.positions_b[0] == 54_400 // 320
    assert batch.label_lengths_b[0] == len("stop")
    assert batch.audio_bs[0, 54_400:].all()


def test_windows_may_end_soon_after_somebody_begins_to_speak() -> None:
    windows = lay_out(CLIPS, replace(LAYOUT, late_share=0.5), seed=1, epoch=0)
    late = [w.placed[0] for w in windows if len(w.placed) == 1 and w.placed[0].cut]
    others = [w for w in windows if w.placed and not w.placed[0].cut]
    assert len(late) == pytest.approx(0.5 * len(others), abs=1)
    for placed in late:
        heard = WINDOW - placed.start
        assert 0.15 * RATE - 1 <= heard < CLIPS[placed.clip].samples
    assert len({placed.clip for placed in late}) > len(late) / 2


def test_a_window_goes_on_where_the_one_before_was_left() -> None:
    # Windows cannot be told apart by order, so by what they hold: a recording that
    # is cut off in one begins another.
    loss = round(0.12 * RATE)
    layout = replace(LAYOUT, cut_share=1.0, silence_share=0.0, longest_loss=0.12)
    windows = lay_out(CLIPS * 5, layout, seed=1, epoch=0)
    cut = {w.placed[-1].clip for w in windows if w.placed[-1].cut}
    firsts = {w.placed[0].clip: w.placed[0].start for w in windows}
    starts = [firsts[clip] for clip in cut]
    assert len(starts) > 50
    assert all(-loss <= start <= loss for start in starts)
    assert min(starts) < -0.8 * loss and max(starts) > 0.8 * loss
    assert 0.3 < np.mean([start < 0 for start in starts]) < 0.7
    # What hardly began there has begun when the next window begins.
    others = [start for clip, start in firsts.items() if clip not in cut]
    assert any(-loss <= start < 0 for start in others)
    assert min(others) >= -loss
    without = lay_out(CLIPS * 5, replace(layout, longest_loss=0.0), 1, 0)
    assert min(placed.start for w in without for placed in w.placed) == 0


def test_what_a_window_lacks_of_a_recording_is_not_heard(maker: BatchMaker) -> None:
    path = maker.utterances[0].audio_path
    save(path, np.linspace(0.1, 0.2, RATE, dtype=np.float32), RATE)
    batch = maker.make([Window((Placed(0, -1_600),), WINDOW)], (0,))
    sound = batch.audio_bs[0]
    assert sound[0] / sound[14_399] == pytest.approx(0.11 / 0.2, rel=1e-3)
    assert not sound[14_400:].any()
    answer = batch.targets_bl[0][batch.counted_bl[0] > 0]
    said = maker.tokenizer.decode_with_timestamps(answer.tolist())
    assert said == "<|0.00|> Stop.<|0.90|><|endoftext|>"
    assert batch.label_lengths_b[0] == len("stop")


def test_transcription_goes_on_where_somebody_begins_at_the_end_of_a_window(
    maker: BatchMaker,
) -> None:
    batch = maker.make([Window((Placed(2, 54_400, cut=True),), WINDOW)], (0,))
    answer = batch.targets_bl[0][batch.counted_bl[0] > 0].tolist()
    tokenizer = maker.tokenizer
    said = tokenizer.decode_with_timestamps(answer)
    assert said == "<|0.00|>\n<|3.40|><|3.40|><|endoftext|>"
    found = cut_window(answer[:-1], tokenizer.special.timestamp_begin, 400)
    assert found.advance == 340
    assert tokenizer.decode(list(found.pieces[0].tokens)).strip() == ""
    assert batch.label_lengths_b[0] == 0

    # The rules of decoding let the model write it.
    size = tokenizer.vocabulary.size
    rules = LogitRules(tokenizer, size, suppressed_tokens(tokenizer, "-1"))
    history = rules.start(1)
    for place, token in enumerate(answer):
        likely = mx.full((1, size), -50.0)
        likely[0, token] = 0.0
        masked = rules.apply(likely, history) if place else rules.apply_first(likely)
        assert mx.isfinite(masked[0, token]), place
        history = rules.extend(history, mx.array([token]))


def test_long_silence_before_speech_is_heard_and_not_counted(
    maker: BatchMaker,
) -> None:
    batch = maker.make([Window((Placed(0, 40_000),), WINDOW)], (0,))
    answer = batch.targets_bl[0][batch.counted_bl[0] > 0]
    said = maker.tokenizer.decode_with_timestamps(answer.tolist())
    assert said == "<|1.00|> Stop.<|3.50|><|endoftext|>"
    patient = replace(LAYOUT, long_pause_share=0.5)
    starts = [w.placed[0].start for w in lay_out(CLIPS * 5, patient, 1, 0) if w.placed]
    long = sum(start > 0.5 * RATE for start in starts) / len(starts)
    assert 0.2 < long < 0.5
    assert max(starts) <= 2.0 * RATE


def test_silence_is_answered_by_the_token_for_it(maker: BatchMaker) -> None:
    batch = maker.make([Window((), 32_000)], (0,))
    special = maker.tokenizer.special
    assert batch.tokens_bl[0, :2].tolist() == [special.sot, special.no_speech]
    assert batch.targets_bl[0, :2].tolist() == [special.no_speech, special.eot]
    assert batch.counted_bl[0].tolist()[:3] == [1, 1, 0]
    # Rooms are never quite silent; a file that has ended is.
    assert batch.audio_bs[0, :32_000].any() and not batch.audio_bs[0, 32_000:].any()


def test_a_prompt_is_given_and_not_asked_for(maker: BatchMaker) -> None:
    maker.config = replace(maker.config, prompt_share=1.0, timestamps_share=0.0)
    batch = maker.make([Window((Placed(2, 0),), 16_000)], (4,))
    special, given = maker.tokenizer.special, batch.tokens_bl[0].tolist()
    assert given[0] == special.sot_prev
    start = given.index(special.sot)
    prompt = maker.tokenizer.decode(given[1:start])
    # What was said before that is cut off on the left, maybe before a mark.
    said = set(re.findall(r"\w+", prompt))
    assert said and said <= set(re.findall(r"\w+", " ".join(TEXTS)))
    assert prompt.endswith(".")
    answer = batch.targets_bl[0][batch.counted_bl[0] > 0]
    assert maker.tokenizer.decode(answer[:-1].tolist()) == " Go back."


def test_a_prompt_has_times_where_the_transcript_has(maker: BatchMaker) -> None:
    maker.config = replace(maker.config, prompt_share=1.0)
    given = maker.make([Window((Placed(2, 0),), 16_000)], (4,)).tokens_bl[0].tolist()
    start = given.index(maker.tokenizer.special.sot)
    prompt = maker.tokenizer.decode_with_timestamps(given[1:start])
    pieces = re.findall(r"<\|(\d\.\d\d)\|>([^<]+)<\|(\d\.\d\d)\|>", prompt)
    assert pieces
    for first, text, last in pieces:
        assert text.strip() in TEXTS
        assert float(last) - float(first) == pytest.approx(1.0)


def test_noise_is_as_loud_as_asked(maker: BatchMaker) -> None:
    maker.config = replace(maker.config, noise_share=1.0, noise_snr=(10.0, 10.0))
    window = Window((Placed(0, 0),), WINDOW)
    for seed in range(3):
        sound = maker.make([window], (seed,)).audio_bs[0]
        # The recording is a constant: what varies is noise.
        signal, noise = sound[:RATE].mean(), sound[RATE:].std()
        assert 20 * np.log10(signal / noise) == pytest.approx(10.0, abs=0.7)


def test_a_silent_recording_gives_numbers(maker: BatchMaker) -> None:
    save(maker.utterances[0].audio_path, np.zeros(RATE, np.float32), RATE)
    maker.config = replace(maker.config, noise_share=1.0)
    batch = maker.make([Window((Placed(0, 0),), WINDOW)], (0,))
    assert np.isfinite(batch.audio_bs).all()
    assert batch.audio_bs.any()


def test_labels_know_how_many_positions_they_need() -> None:
    labels = CtcLabels("characters", ["aab", "ab"])
    assert labels.positions("ab") == 2
    assert labels.positions("a ab.") == 4, "a blank parts the same label"
    assert labels.positions("?") == 0


def test_a_vocabulary_of_words_spells_what_it_does_not_know() -> None:
    vocabulary = words_vocabulary(["Go back now. Go on."] * 3 + ["Rare."], 260, 101)
    tokenizer = Tokenizer(vocabulary)
    assert tokenizer.encode(" Go back now.") == [256, 257, 258, ord(".")]
    # " Rare" found no room.
    assert len(tokenizer.encode(" Rare.")) == len(" Rare.")
    for text in (" Go back.", " Zürich, naïve?", " Rare."):
        assert tokenizer.decode(tokenizer.encode(text)) == text
    # What it was taught to write it may write: brackets are no annotations here.
    assert tokenizer.non_speech_tokens == ()
    # The end, the start, one language, six more special tokens, and the times.
    assert vocabulary.size == 260 + 9 + 101


def test_cropped_windows_end_soon_after_the_longest_recording(
    maker: BatchMaker,
) -> None:
    maker.config = replace(maker.config, crop=True)
    windows = [Window((Placed(0, 0),), 17_000), Window((Placed(1, 3_000),), 21_000)]
    batch = maker.make(windows, (0,))
    assert batch.audio_bs.shape == (2, 23_040)
    assert batch.kept_bf.shape == (2, 144)
    assert batch.frames_b.tolist() == [106, 131]
    whole = maker.make([Window((Placed(0, 0),), WINDOW)], (0,))
    assert whole.audio_bs.shape == (1, WINDOW)
    alone = replace(LAYOUT, pack=False, full_share=0.0, silence_share=0.0)
    for window in lay_out(CLIPS, alone, 1, 0):
        end = window.placed[0].start + CLIPS[window.placed[0].clip].samples
        pause = window.content - max(end, WINDOW // 8)
        assert 0 <= pause <= 0.5 * RATE or window.content == WINDOW
