"""Prompts of Voxtral 2507: to transcribe a recording, or to talk about recordings.

The tokens are those of Mistral's own tokenizer for the same request. Tokens of audio
stand where the recordings come, as many as chunks of 30 s hold.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from mlx_speech.errors import SpeechError
from mlx_speech.voxtral.config import VoxtralConfig
from mlx_speech.voxtral.features import SAMPLE_RATE, chunk_samples
from mlx_speech.voxtral.tokenizer import BEGIN, END, Tekken

Speaker = Literal["system", "user", "assistant"]
# Text, or float [samples] at 16 kHz.
Content = str | np.ndarray

# What the models were trained on.
LANGUAGES = {
    "en": "english",
    "fr": "french",
    "de": "german",
    "es": "spanish",
    "it": "italian",
    "pt": "portuguese",
    "nl": "dutch",
    "hi": "hindi",
}
# Minutes that fit into the context of 32768 tokens with an answer, as published.
LONGEST_TRANSCRIPTION_MINUTES = 30
LONGEST_CONVERSATION_MINUTES = 40
# What stands between texts that follow each other.
PARAGRAPH = "\n\n"


@dataclass(frozen=True)
class Turn:
    """What one of the two, or the system's prompt, says.

    Attributes:
        speaker: "user", "assistant", or "system".
        content: texts and recordings in order; only the user may send recordings.
    """

    speaker: Speaker
    content: Sequence[Content]


@dataclass(frozen=True)
class Prompt:
    """Tokens, and the recordings whose features take the place of tokens of audio.

    Attributes:
        tokens: ids.
        clips: recordings in order, float [samples] at 16 kHz.
    """

    tokens: list[int]
    clips: list[np.ndarray] = field(default_factory=list)

    @property
    def seconds(self) -> float:
        """Length of all recordings."""
        return sum(len(clip) for clip in self.clips) / SAMPLE_RATE


def transcription_prompt(
    tokenizer: Tekken,
    config: VoxtralConfig,
    samples: np.ndarray,
    language: str | None = None,
) -> Prompt:
    """Ask for what is said in a recording.

    Args:
        tokenizer: the model's.
        config: the model's.
        samples: float [samples] at 16 kHz.
        language: code or English name; None: the model finds it out.

    Raises:
        SpeechError: an unknown language, or a recording that is empty or too long.
    """
    ids = _Ids(tokenizer, config)
    tokens = [ids.begin, ids.instruct, *ids.audio(samples), ids.end_instruct]
    if language is not None:
        tokens += tokenizer.encode(f"lang:{language_code(language)}")
    prompt = Prompt([*tokens, tokenizer.special_id("[TRANSCRIBE]")], [samples])
    _check_minutes(prompt, LONGEST_TRANSCRIPTION_MINUTES, "transcribe")
    return prompt


def conversation_prompt(
    tokenizer: Tekken, config: VoxtralConfig, turns: Iterable[Turn]
) -> Prompt:
    """Ask for the assistant's next turn.

    Args:
        tokenizer: the model's.
        config: the model's.
        turns: so far, the user's last. Turns of one speaker that follow each other are
            one turn, and texts that follow each other are paragraphs of one text.

    Raises:
        SpeechError: turns in an impossible order, recordings that are empty or too
            long, or a system's prompt beside recordings, which the models never saw.
    """
    merged = _merged(turns)
    clips = [part for _, said in merged for part in said if not isinstance(part, str)]
    _check_order([speaker for speaker, _ in merged], bool(clips))
    ids = _Ids(tokenizer, config)
    tokens = [ids.begin]
    for speaker, said in merged:
        if speaker == "assistant":
            tokens += [*ids.text(said[0], strip=True), ids.end]
        elif speaker == "system":
            inside = ids.text(said[0])
            tokens += [ids.begin_system, *inside, ids.end_system]
        else:
            inside = [token for part in said for token in ids.part(part)]
            tokens += [ids.instruct, *inside, ids.end_instruct]
    prompt = Prompt(tokens, clips)
    _check_minutes(prompt, LONGEST_CONVERSATION_MINUTES, "talk about")
    return prompt


def language_code(language: str) -> str:
    """The code of a language given by code or English name.

    Raises:
        SpeechError: the models were not trained on it.
    """
    wanted = language.strip().lower()
    for code, name in LANGUAGES.items():
        if wanted in (code, name):
            return code
    raise SpeechError(
        f"Voxtral does not know the language {language!r}",
        "leave the language out, or choose one of "
        + ", ".join(f"{code} ({name})" for code, name in LANGUAGES.items()),
    )


class _Ids:
    """Ids of the parts of a prompt."""

    def __init__(self, tokenizer: Tekken, config: VoxtralConfig) -> None:
        self._tokenizer = tokenizer
        self._config = config
        special = tokenizer.special_id
        self.begin, self.end = special(BEGIN), special(END)
        self.instruct, self.end_instruct = special("[INST]"), special("[/INST]")
        self.begin_system = special("[SYSTEM_PROMPT]")
        self.end_system = special("[/SYSTEM_PROMPT]")
        self.begin_audio = special("[BEGIN_AUDIO]")
        if special("[AUDIO]") != config.audio_token_id:
            raise SpeechError(
                f"audio is token {special('[AUDIO]')} of the tokenizer and token "
                f"{config.audio_token_id} of the model",
                "use the tokenizer that came with the weights",
            )

    def part(self, part: Content) -> list[int]:
        return self.text(part) if isinstance(part, str) else self.audio(part)

    def text(self, part: Content, strip: bool = False) -> list[int]:
        assert isinstance(part, str)
        return self._tokenizer.encode(part.rstrip(" ") if strip else part)

    def audio(self, samples: np.ndarray) -> list[int]:
        if samples.ndim != 1 or not len(samples):
            raise SpeechError(
                f"a recording has the shape {list(samples.shape)}, not [samples]",
                "give mono recordings that are not empty",
            )
        audio = self._config.audio
        chunks = math.ceil(len(samples) / chunk_samples(audio))
        count = chunks * audio.tokens_per_chunk
        return [self.begin_audio, *[self._config.audio_token_id] * count]


def _merged(turns: Iterable[Turn]) -> list[tuple[Speaker, list[Content]]]:
    """Turns that alternate, whose texts do not follow each other."""
    merged: list[tuple[Speaker, list[Content]]] = []
    for turn in turns:
        if not merged or merged[-1][0] != turn.speaker:
            merged.append((turn.speaker, []))
        said = merged[-1][1]
        for part in turn.content:
            last = said[-1] if said else None
            if isinstance(part, str) and isinstance(last, str):
                said[-1] = last + PARAGRAPH + part
            else:
                said.append(part)
    return merged


def _check_order(speakers: Sequence[Speaker], has_audio: bool) -> None:
    unknown = sorted(set(speakers) - {"system", "user", "assistant"})
    if unknown:
        raise SpeechError(
            f"nobody in a conversation is called {unknown[0]!r}",
            "the speakers are system, user and assistant",
        )
    if has_audio and "system" in speakers:
        raise SpeechError(
            "a system prompt beside recordings is nothing that Voxtral was trained on",
            "say it in the question",
        )
    spoken = [speaker for speaker in speakers if speaker != "system"]
    if "system" in speakers[1:] or not spoken or spoken[0] != "user":
        raise SpeechError(
            "a conversation begins with the system's prompt, if any, then the user",
            f"here speak {', '.join(speakers) or 'nobody'}",
        )
    if spoken[-1] != "user":
        raise SpeechError(
            "the assistant spoke last, so there is nothing to answer",
            "end with the user's turn",
        )


def _check_minutes(prompt: Prompt, most: int, purpose: str) -> None:
    if prompt.seconds > 60 * most:
        raise SpeechError(
            f"{prompt.seconds / 60:.1f} minutes are too long for one prompt: Voxtral "
            f"can {purpose} {most} minutes",
            "cut the recording into pieces",
        )
