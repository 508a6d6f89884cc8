"""Transcripts of single windows, by OpenAI's rules.

Radford et al. 2022. One pass of the encoder serves everything that is asked of a
window: ``encode_windows`` makes it, and language detection and decoding at any number
of temperatures take what it made.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import mlx.core as mx
import numpy as np

from mlx_speech.errors import SpeechError
from mlx_speech.whisper.beam import search_beams
from mlx_speech.whisper.decoding_options import (
    LANGUAGE_TASK,
    DecodingOptions,
    DecodingResult,
)
from mlx_speech.whisper.languages import language_code
from mlx_speech.whisper.logit_rules import LogitRules, log_sum_exp
from mlx_speech.whisper.model import CrossKeyValues, Whisper
from mlx_speech.whisper.prompts import initial_tokens, suppressed_tokens
from mlx_speech.whisper.sampling import Sampler, sample_tokens
from mlx_speech.whisper.segments import SECONDS_PER_TIME
from mlx_speech.whisper.speculative import Speculation, speculate
from mlx_speech.whisper.token_decoder import Candidate, TokenDecoder
from mlx_speech.whisper.tokenizer import Tokenizer
from mlx_speech.whisper.vocabulary import openai_vocabulary, read_vocabulary


@dataclass(frozen=True)
class DraftWindows:
    """What a draft, which guesses ahead of the model, reads of the same windows.

    Args:
        model: the draft.
        cross: the keys and values that its decoder reads.
    """

    model: Whisper
    cross: CrossKeyValues


@dataclass(frozen=True)
class EncodedWindows:
    """Windows that went through the encoder.

    Args:
        features: [windows, positions, channels].
        cross: the keys and values that the decoder reads.
        draft: those of a draft, where there is one.
    """

    features: mx.array
    cross: CrossKeyValues
    draft: DraftWindows | None = None

    def take(self, indices: Sequence[int]) -> EncodedWindows:
        """Some of the windows, in the order of ``indices``."""
        rows = mx.array(list(indices))
        features, cross = self.features[rows], _take(self.cross, rows)
        if self.draft is None:
            return EncodedWindows(features, cross)
        draft = DraftWindows(self.draft.model, _take(self.draft.cross, rows))
        return EncodedWindows(features, cross, draft)


def tokenizer_of(model: Whisper) -> Tokenizer:
    """Return the tokenizer of a model: its folder's own, or OpenAI's.

    Raises:
        SpeechError: its folder has none, and its size is none of OpenAI's; or its
            folder's does not fit.
    """
    own = read_vocabulary(model.folder) if model.folder is not None else None
    if own is not None and own.size > model.config.n_vocab:
        raise SpeechError(
            f"the vocabulary in {model.folder} has {own.size} tokens, the model"
            f" {model.config.n_vocab}",
            "use the files that came with the weights",
        )
    return Tokenizer(own or openai_vocabulary(model.config.n_vocab))


def encode_windows(
    model: Whisper, audio: mx.array | EncodedWindows, draft: Whisper | None = None
) -> EncodedWindows:
    """Encode windows, unless that has been done.

    One after another, and waiting for each: what lies between the layers of the encoder
    would take several times the memory of all that is kept.

    Args:
        model: the model.
        audio: log-mel [windows, frames, n_mels], features [windows, positions,
            channels], either of them without the first axis for one window, or what
            this function returned.
        draft: guesses ahead when the windows are decoded greedily;
            :func:`mlx_speech.whisper.speculative.use_as_draft` prepares it.

    Raises:
        SpeechError: features, for a draft that has an encoder of its own.
    """
    if isinstance(audio, EncodedWindows):
        return audio
    if audio.ndim == 2:
        audio = audio[None]
    config = model.config
    encoded = audio.shape[1:] == (config.n_audio_ctx, config.n_audio_state)
    features = audio if encoded else _encode_in_turn(model, audio)
    cross = _cross_key_values(model, features)
    if draft is None:
        return EncodedWindows(features, cross)
    if draft.encoder is model.encoder:
        theirs = features
    elif encoded:
        raise SpeechError(
            "a draft with an encoder of its own cannot read the model's features",
            "give the spectrogram, or a draft that shares the model's encoder",
        )
    else:
        theirs = _encode_in_turn(draft, audio)
    guesser = DraftWindows(draft, _cross_key_values(draft, theirs))
    return EncodedWindows(features, cross, guesser)


def detect_language(
    model: Whisper,
    audio: mx.array | EncodedWindows,
    tokenizer: Tokenizer | None = None,
) -> list[dict[str, float]]:
    """Find how probable each language is, for each window.

    Args:
        model: the model.
        audio: as ``encode_windows`` takes it.
        tokenizer: the model's, to save looking for it.

    Returns:
        Codes to probabilities, which add up to 1.

    Raises:
        SpeechError: an English-only model.
    """
    tokenizer = tokenizer or tokenizer_of(model)
    if not tokenizer.multilingual:
        raise SpeechError(
            "an English-only model cannot tell languages apart",
            "use a multilingual model, or give the language",
        )
    windows = encode_windows(model, audio)
    start = mx.full((windows.features.shape[0], 1), tokenizer.special.sot, mx.int32)
    logits = model.decode(start, windows.cross)[:, 0]
    ids = mx.array(list(tokenizer.special.languages.values()))
    probabilities = np.array(mx.softmax(logits[:, ids], axis=-1))
    codes = list(tokenizer.special.languages)
    return [dict(zip(codes, row.tolist(), strict=True)) for row in probabilities]


def decode(
    model: Whisper,
    audio: mx.array | EncodedWindows,
    options: DecodingOptions | None = None,
    *,
    tokenizer: Tokenizer | None = None,
    sampler: Sampler = mx.random.categorical,
    **changes: Any,
) -> list[DecodingResult]:
    """Decode windows.

    Args:
        model: the model.
        audio: as ``encode_windows`` takes it.
        options: what to decode and how.
        tokenizer: the model's, to save looking for it.
        sampler: draws tokens at temperatures above 0.
        changes: options that replace those of ``options``.

    Returns:
        One result per window.

    Raises:
        SpeechError: options that contradict each other or do not fit the model.
    """
    options = replace(options or DecodingOptions(), **changes)
    tokenizer = tokenizer or tokenizer_of(model)
    windows = encode_windows(model, audio)
    count = windows.features.shape[0]
    draft = windows.draft
    if options.temperature > 0 or options.beam_size is not None:
        draft = None
    if draft is not None and count > 1:
        # Windows would accept different numbers of guesses.
        alone = (windows.take([index]) for index in range(count))
        common: dict[str, Any] = {"tokenizer": tokenizer, "sampler": sampler}
        return [decode(model, each, options, **common)[0] for each in alone]
    languages, probabilities = _languages(model, windows, options, tokenizer)
    if options.task == LANGUAGE_TASK:
        return [
            DecodingResult(windows.features[i], languages[i], probabilities[i])
            for i in range(count)
        ]

    prompts, limit = _prompts(model, options, tokenizer, languages)
    begin = partial(
        TokenDecoder,
        prompts=prompts,
        sot_index=prompts[0].index(tokenizer.special.sot),
        limit=limit,
    )
    group = options.beam_size or options.best_of or 1
    decoder = begin(model, windows.cross, group=group)
    rules = _rules(model, options, tokenizer)
    guessed = Speculation(Candidate((), 0.0), 0, 0)
    if options.beam_size is not None:
        found = search_beams(decoder, rules, options.patience or 1.0)
    elif draft is not None:
        guessed = speculate(decoder, begin(draft.model, draft.cross, group=1), rules)
        found = [[guessed.candidate]]
    else:
        found = sample_tokens(decoder, rules, options.temperature, sampler)
    silence = mx.exp(
        decoder.sot_logits[:, tokenizer.special.no_speech]
        - log_sum_exp(decoder.sot_logits)
    )
    results = []
    for i, no_speech_prob in enumerate(np.array(silence).tolist()):
        best = rank(found[i], options.length_penalty)
        text = tokenizer.decode(best.tokens).strip()
        results.append(
            DecodingResult(
                audio_features=windows.features[i],
                language=languages[i],
                language_probs=probabilities[i],
                tokens=list(best.tokens),
                text=text,
                avg_logprob=best.sum_logprob / (len(best.tokens) + 1),
                no_speech_prob=no_speech_prob,
                temperature=options.temperature,
                compression_ratio=compression_ratio(text),
                drafted=guessed.drafted,
                accepted=guessed.accepted,
            )
        )
    return results


def rank(candidates: Sequence[Candidate], length_penalty: float | None) -> Candidate:
    """Choose the candidate of the highest score, the first among equals."""

    def score(candidate: Candidate) -> float:
        # A transcript of nothing is scored as one token: its end.
        length = len(candidate.tokens)
        if length_penalty is None:
            return candidate.sum_logprob / max(length, 1)
        return candidate.sum_logprob / ((5 + length) / 6) ** length_penalty

    return max(candidates, key=score)


def compression_ratio(text: str) -> float:
    """Bytes of the text over its bytes when zlib has packed them."""
    data = text.encode("utf-8")
    return len(data) / len(zlib.compress(data))


def _languages(
    model: Whisper,
    windows: EncodedWindows,
    options: DecodingOptions,
    tokenizer: Tokenizer,
) -> tuple[list[str], list[dict[str, float] | None]]:
    """The language of each window, and the probabilities when it was detected."""
    count = windows.features.shape[0]
    given = language_code(options.language) if options.language is not None else None
    if options.task == LANGUAGE_TASK or (given is None and tokenizer.multilingual):
        detected = detect_language(model, windows, tokenizer)
        return [max(row, key=row.__getitem__) for row in detected], list(detected)
    return [given or tokenizer.only_language or "en"] * count, [None] * count


def _prompts(
    model: Whisper,
    options: DecodingOptions,
    tokenizer: Tokenizer,
    languages: Sequence[str],
) -> tuple[list[tuple[int, ...]], int]:
    """The tokens before each window's first sampled one, and how many to sample."""
    n_ctx = model.config.n_text_ctx
    sample_len = options.sample_len or n_ctx // 2
    prompts = [
        initial_tokens(tokenizer, options, language, n_ctx, sample_len)
        for language in languages
    ]
    length = len(prompts[0])
    if length > n_ctx:
        raise SpeechError(
            f"the prompt and prefix take {length} tokens, and the model holds {n_ctx}",
            "shorten the prefix",
        )
    # The model never reads the last sampled token: there may be one more than fit.
    return prompts, min(sample_len, n_ctx + 1 - length)


def _rules(
    model: Whisper, options: DecodingOptions, tokenizer: Tokenizer
) -> LogitRules:
    latest = options.max_initial_timestamp
    return LogitRules(
        tokenizer,
        model.config.n_vocab,
        suppressed_tokens(tokenizer, options.suppress_tokens),
        options.suppress_blank,
        not options.without_timestamps,
        round(latest / SECONDS_PER_TIME) if latest else None,
    )


def _encode_in_turn(model: Whisper, mel_bfm: mx.array) -> mx.array:
    features = []
    for window in mx.split(mel_bfm, len(mel_bfm)):
        features.append(model.encode(window))
        mx.eval(features[-1])
    return mx.concatenate(features)


def _cross_key_values(model: Whisper, features: mx.array) -> CrossKeyValues:
    cross = model.cross_key_values(features)
    for keys, values in cross:
        mx.eval(keys, values)
    return cross


def _take(cross: CrossKeyValues, rows: mx.array) -> CrossKeyValues:
    return [(keys[rows], values[rows]) for keys, values in cross]
