"""A draft guesses ahead; what is written is what openai-whisper writes without one."""

from __future__ import annotations

import importlib.util
import json
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import mlx.core as mx
import numpy as np
import pytest
from mlx.utils import tree_flatten, tree_unflatten

from mlx_speech.errors import SpeechError
from mlx_speech.hub.load import load_strict
from mlx_speech.nn.projections import fuse
from mlx_speech.whisper.config import WhisperConfig
from mlx_speech.whisper.decoding import (
    DecodingOptions,
    DecodingResult,
    decode,
    encode_windows,
    tokenizer_of,
)
from mlx_speech.whisper.layouts import to_hf_names
from mlx_speech.whisper.logit_rules import LogitRules
from mlx_speech.whisper.model import Whisper
from mlx_speech.whisper.speculative import speculate, use_as_draft
from mlx_speech.whisper.token_decoder import TokenDecoder
from mlx_speech.whisper.transcribe import transcribe
from mlx_speech.whisper.transcription_options import TranscriptionOptions

GOLDENS = Path(__file__).resolve().parents[1] / "goldens"
GOLDEN: dict[str, Any] = json.loads((GOLDENS / "whisper_decoding.json").read_text())


def load_recipe() -> ModuleType:
    name = "whisper_decoding_recipe"
    spec = importlib.util.spec_from_file_location(name, GOLDENS / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


RECIPE = load_recipe()
GREEDY = [
    key
    for key in GOLDEN["cases"]
    if not {"beam_size", "temperature"} & set(RECIPE.OPTIONS[key.split("/")[1]])
]
# All sorts of options once, and the plain ones for every model.
GREEDY = [
    key
    for key in GREEDY
    if key.startswith("wordy/")
    or key in ("v3/greedy", "english/greedy", "deep/greedy", "timed/greedy")
]


@cache
def model_of(name: str) -> Whisper:
    model = Whisper(WhisperConfig.from_dict(RECIPE.dims(name)))
    arrays = {key: mx.array(value) for key, value in RECIPE.state(name).items()}
    weights = fuse(to_hf_names(arrays, "openai"), model.config.n_audio_state)
    load_strict(model, weights, name)
    return model


def perturbed(model: Whisper, share: float, encoder: bool = False) -> Whisper:
    """A copy with noise, as large as ``share`` of the weights, added to the decoder."""
    draft = Whisper(model.config)
    noisy = []
    for index, (name, array) in enumerate(tree_flatten(model.parameters())):
        if encoder or name.startswith("decoder"):
            noise = mx.random.normal(array.shape, key=mx.random.key(index))
            array = array + share * mx.sqrt(mx.square(array).mean()) * noise
        noisy.append((name, array))
    draft.update(tree_unflatten(noisy))
    return draft


def run(key: str, draft: Whisper, shared: bool) -> list[DecodingResult]:
    model_name, options_name = key.split("/")
    model = model_of(model_name)
    assert use_as_draft(model, draft) == shared
    settings = dict(RECIPE.OPTIONS[options_name])
    initial = settings.pop("initial", 50)
    seconds = None if initial is None else initial * 0.02
    options = DecodingOptions(max_initial_timestamp=seconds, **settings)
    windows = encode_windows(model, mx.array(RECIPE.mel(model_name)), draft)
    return decode(model, windows, options)


# Noise, the bounds of the share of guesses that are right, all cases together.
DRAFTS = {"always": (0.0, 0.999, 1), "half": (0.1, 0.4, 0.7), "never": (30, 0, 0.05)}


@pytest.mark.parametrize("name", DRAFTS)
def test_tokens_are_those_of_the_model_alone(name: str) -> None:
    noise, least, most = DRAFTS[name]
    drafted = accepted = 0
    for key in GREEDY:
        draft = perturbed(model_of(key.split("/")[0]), noise)
        found, golden = run(key, draft, shared=True), GOLDEN["cases"][key]
        assert [result.tokens for result in found] == golden["tokens"], key
        assert [result.text for result in found] == golden["text"], key
        assert [result.language for result in found] == golden["language"], key
        for ours, theirs in (
            ("avg_logprob", golden["avg_logprob"]),
            ("no_speech_prob", golden["no_speech_prob"]),
        ):
            np.testing.assert_allclose(
                [getattr(r, ours) for r in found], theirs, rtol=1e-4, atol=1e-5
            )
        drafted += sum(result.drafted for result in found)
        accepted += sum(result.accepted for result in found)
    assert drafted > 200
    assert least <= accepted / drafted <= most


def test_a_draft_may_have_an_encoder_of_its_own() -> None:
    key = "v3/greedy"
    draft = perturbed(model_of("v3"), 0.1, encoder=True)
    found = run(key, draft, shared=False)
    assert [result.tokens for result in found] == GOLDEN["cases"][key]["tokens"]
    assert sum(result.accepted for result in found) > 0
    features = model_of("v3").encode(mx.array(RECIPE.mel("v3")))
    with pytest.raises(SpeechError, match="encoder of its own"):
        encode_windows(model_of("v3"), features, draft)


def test_right_guesses_save_passes_of_the_model(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = model_of("wordy")
    draft = perturbed(model, 0.0)
    calls = []
    read = TokenDecoder.read

    def counted(self: TokenDecoder, tokens: mx.array) -> mx.array:
        if self._model is model:
            calls.append(tokens.shape)
        return read(self, tokens)

    monkeypatch.setattr(TokenDecoder, "read", counted)
    found = run("wordy/greedy", draft, shared=True)
    sampled = sum(len(result.tokens) for result in found)
    assert sum(rows * length for rows, length in calls) >= sampled - 2
    assert len(calls) < sampled / 4


def test_beams_and_draws_are_decoded_without_guesses() -> None:
    model = model_of("wordy")
    draft = perturbed(model, 0.0)
    use_as_draft(model, draft)
    mel = mx.array(RECIPE.mel("wordy"))
    windows, plain = encode_windows(model, mel, draft), encode_windows(model, mel)
    for settings in ({"beam_size": 2}, {"temperature": 0.5}):
        results = []
        for audio in (windows, plain):
            mx.random.seed(0)
            options = DecodingOptions(language="en", sample_len=6, **settings)
            results.append(decode(model, audio, options))
        for guessed, alone in zip(*results, strict=True):
            assert guessed.tokens == alone.tokens
            assert guessed.drafted == guessed.accepted == 0


def test_some_windows_are_taken_with_what_the_draft_reads() -> None:
    model = model_of("wordy")
    draft = perturbed(model, 0.05)
    use_as_draft(model, draft)
    windows = encode_windows(model, mx.array(RECIPE.mel("wordy")), draft)
    second = windows.take([1])
    options = DecodingOptions(language="en")
    together, alone = (decode(model, each, options) for each in (windows, second))
    assert alone[0].tokens == together[1].tokens
    assert alone[0].accepted == together[1].accepted > 0


@pytest.mark.parametrize("other", ["english", "v3"])
def test_a_draft_that_does_not_fit_is_refused(other: str) -> None:
    with pytest.raises(SpeechError, match="the draft has"):
        use_as_draft(model_of("wordy"), model_of(other))


def test_only_one_window_can_be_guessed_at_a_time() -> None:
    model = model_of("wordy")
    cross = encode_windows(model, mx.array(RECIPE.mel("wordy"))).cross
    decoder = TokenDecoder(model, cross, [[50258], [50258]], 0, 1, 4)
    rules = LogitRules(tokenizer_of(model), model.config.n_vocab)
    with pytest.raises(SpeechError, match="2 rows"):
        speculate(decoder, decoder, rules)


@pytest.mark.parametrize("exact", [True, False])
def test_recordings_are_transcribed_alike(exact: bool) -> None:
    model = model_of("short")
    draft = perturbed(model, 0.05)
    samples = RECIPE.recording("short")[: 6 * 16000]
    options = TranscriptionOptions(language="en", temperature=0.0)
    alone, guessed = (
        transcribe(
            *(model, samples, options),
            exact=exact,
            find_speech=None,
            draft=each,
        )
        for each in (None, draft)
    )
    assert draft.encoder is model.encoder
    assert [s.tokens for s in guessed.segments] == [s.tokens for s in alone.segments]
    assert len(alone.segments) > 2
