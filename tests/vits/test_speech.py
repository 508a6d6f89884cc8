"""Speaking text of any length with a small untrained voice."""

from __future__ import annotations

from dataclasses import replace

import mlx.core as mx
import numpy as np
import pytest

from mlx_speech.audio import MelSpec
from mlx_speech.errors import SpeechError
from mlx_speech.text.characters import CharacterVocabulary, vits_vocabulary
from mlx_speech.text.ipa import english_to_ipa
from mlx_speech.text.vocabulary import Vocabulary
from mlx_speech.vits.config import VitsConfig
from mlx_speech.vits.model import SynthesizerTrn
from mlx_speech.vits.speech import SENTENCE_PAUSE_SECONDS, synthesize
from mlx_speech.vits.voice import Voice

RATE = 8000
CONFIG = VitsConfig(
    n_vocab=200,
    spec_channels=9,
    inter_channels=4,
    hidden_channels=4,
    filter_channels=4,
    n_layers=1,
    posterior_layers=1,
    flow_layers=1,
    n_flows=2,
    resblock_kernel_sizes=(3,),
    resblock_dilation_sizes=((1,),),
    upsample_rates=(4, 2),
    upsample_initial_channel=8,
    upsample_kernel_sizes=(8, 4),
)


def make_voice(
    config: VitsConfig = CONFIG,
    speakers: tuple[str, ...] = (),
    vocabulary: Vocabulary | None = None,
    reads_ipa: bool = False,
) -> Voice:
    mx.random.seed(7)
    return Voice(
        model=SynthesizerTrn(config),
        mel_spec=MelSpec(RATE, 16, 8, 16, 4),
        vocabulary=vocabulary
        or CharacterVocabulary.from_texts(["abcdefghijklmnopqrstuvwxyz .,!?"]),
        speakers=speakers,
        reads_ipa=reads_ipa,
    )


@pytest.fixture(scope="module")
def voice() -> Voice:
    return make_voice()


@pytest.fixture(scope="module")
def three_speakers() -> Voice:
    return make_voice(
        replace(CONFIG, n_speakers=3, gin_channels=4), ("ann", "bob", "cid")
    )


def test_a_sentence_is_float32_within_range(voice: Voice) -> None:
    audio = synthesize(voice, "hello there.")
    assert audio.dtype == np.float32
    assert audio.ndim == 1
    assert len(audio) % CONFIG.hop_length == 0
    assert 0 < np.abs(audio).max() <= 1


def test_sentences_are_spoken_one_after_another(voice: Voice) -> None:
    """With a pause between them, each from the seed and its place."""
    first = synthesize(voice, "hello there.", seed=5)
    second = synthesize(voice, "how are you?", seed=6)
    told: list[tuple[int, int]] = []
    both = synthesize(
        voice,
        "hello there. how are you?",
        seed=5,
        on_progress=lambda done, total: told.append((done, total)),
    )
    pause = np.zeros(int(SENTENCE_PAUSE_SECONDS * RATE), np.float32)
    np.testing.assert_array_equal(both, np.concatenate([first, pause, second]))
    assert told == [(1, 2), (2, 2)]


def test_the_seed_decides(voice: Voice) -> None:
    text = "the same again."
    first, again = (synthesize(voice, text, seed=1) for _ in range(2))
    other = synthesize(voice, text, seed=2)
    np.testing.assert_array_equal(first, again)
    assert len(first) != len(other) or np.abs(first - other).max() > 0


def test_without_noise_the_seed_does_not_matter(voice: Voice) -> None:
    quiet = {"noise_scale": 0.0, "noise_scale_w": 0.0}
    first = synthesize(voice, "the same again.", seed=1, **quiet)
    second = synthesize(voice, "the same again.", seed=2, **quiet)
    np.testing.assert_array_equal(first, second)


def test_the_voices_own_settings_hold_unless_told_otherwise(voice: Voice) -> None:
    silent = {"noise_scale": 0.0, "noise_scale_w": 0.0, "length_scale": 2.0}
    own = synthesize(replace(voice, inference=silent), "some words.")
    told = synthesize(voice, "some words.", speed=0.5, noise_scale=0, noise_scale_w=0)
    np.testing.assert_array_equal(own, told)


def test_speed_divides_the_length(voice: Voice) -> None:
    lengths = [
        len(synthesize(voice, "a good many words to say.", noise_scale_w=0, speed=s))
        for s in (0.1, 0.2)
    ]
    # Every symbol's duration is rounded up to whole frames.
    assert lengths[0] / lengths[1] == pytest.approx(2, rel=0.1)


@pytest.mark.parametrize("speed", [0.0, -1.0, 0.05, 11.0, float("nan"), float("inf")])
def test_a_speed_out_of_range_is_refused(voice: Voice, speed: float) -> None:
    with pytest.raises(SpeechError, match=rf"the speed {speed} is out of range"):
        synthesize(voice, "words", speed=speed)


@pytest.mark.parametrize("name", ["noise_scale", "noise_scale_w"])
@pytest.mark.parametrize("value", [-0.1, 2.1, float("nan")])
def test_noise_out_of_range_is_refused(voice: Voice, name: str, value: float) -> None:
    with pytest.raises(SpeechError, match=f"`{name}` {value} is out of range"):
        synthesize(voice, "words", **{name: value})
    loud = replace(voice, inference={name: value})
    with pytest.raises(SpeechError, match=f"`{name}` {value} is out of range"):
        synthesize(loud, "words")


@pytest.mark.parametrize("seed", [-1, 2**63])
def test_a_seed_out_of_range_is_refused(voice: Voice, seed: int) -> None:
    with pytest.raises(SpeechError, match=f"the seed {seed} is out of range"):
        synthesize(voice, "words", seed=seed)


@pytest.mark.parametrize("text", ["", " \n\t ", "..."])
def test_no_text_is_refused(voice: Voice, text: str) -> None:
    with pytest.raises(SpeechError, match="there is no text to speak"):
        synthesize(voice, text)


def test_unknown_symbols_are_listed(voice: Voice) -> None:
    with pytest.raises(SpeechError, match="☃"):
        synthesize(voice, "a snow☃man")


def test_a_speaker_is_chosen_by_name(three_speakers: Voice) -> None:
    quiet = {"noise_scale": 0.0, "noise_scale_w": 0.0}
    spoken = {
        name: synthesize(three_speakers, "words", speaker=name, **quiet)
        for name in three_speakers.speakers
    }
    first = synthesize(three_speakers, "words", **quiet)
    np.testing.assert_array_equal(first, spoken["ann"])
    length = min(len(audio) for audio in spoken.values())
    assert np.abs(spoken["ann"][:length] - spoken["bob"][:length]).max() > 0
    with pytest.raises(SpeechError, match="unknown speaker `dan`") as caught:
        synthesize(three_speakers, "words", speaker="dan")
    assert "ann, bob, cid" in caught.value.hint


def test_speakers_without_names_are_chosen_by_number(three_speakers: Voice) -> None:
    nameless = replace(three_speakers, speakers=())
    for row, name in enumerate(three_speakers.speakers):
        np.testing.assert_array_equal(
            synthesize(nameless, "words", speaker=str(row)),
            synthesize(three_speakers, "words", speaker=name),
        )
    for unknown in ("ann", "3", "-1"):
        with pytest.raises(SpeechError, match=f"unknown speaker `{unknown}`") as caught:
            synthesize(nameless, "words", speaker=unknown)
        assert "from 0 to 2" in caught.value.hint


def test_a_voice_of_one_speaker_has_no_names(voice: Voice) -> None:
    with pytest.raises(SpeechError, match="one speaker, so `ann` cannot be chosen"):
        synthesize(voice, "words", speaker="ann")


def test_english_becomes_ipa_for_a_voice_that_reads_it() -> None:
    vocabulary = vits_vocabulary()
    voice = make_voice(vocabulary=vocabulary, reads_ipa=True)
    # Typographic marks and accents are English all the same.
    written = "It\u2019s a “café” — naïve"
    for text in ("Hello world", written):
        ipa = english_to_ipa(text)
        assert voice.encode(text) == voice.encode(ipa) == vocabulary.encode(ipa)
    np.testing.assert_array_equal(
        synthesize(voice, written), synthesize(voice, english_to_ipa(written))
    )
