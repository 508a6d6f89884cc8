"""What is said to a model before each window of a recording."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from mlx_speech.whisper.prompts import prompt_ids
from mlx_speech.whisper.tokenizer import Tokenizer
from mlx_speech.whisper.transcription_options import TranscriptionOptions
from mlx_speech.writers import Segment

# Text that was drawn at a higher temperature is too doubtful to prompt with.
LEAST_TRUSTED_TEMPERATURE = 0.5


@dataclass
class RollingPrompt:
    """What is said to the model before each window.

    Args:
        initial: ids of the initial prompt.
        hotwords: ids that precede every prompt.
        carry: whether the initial prompt precedes every window.
        condition: whether what was transcribed prompts.
        room: ids that the model takes as a prompt.
        tokens: the initial prompt, and all that was transcribed.
        forgotten: how many of ``tokens``, from the first on, no longer prompt.
    """

    initial: list[int]
    hotwords: list[int]
    carry: bool
    condition: bool
    room: int
    tokens: list[int] = field(default_factory=list)
    forgotten: int = 0

    @classmethod
    def begin(
        cls, options: TranscriptionOptions, tokenizer: Tokenizer, n_ctx: int
    ) -> RollingPrompt:
        """The prompt of a recording's first window.

        Args:
            options: initial prompt, hotwords, and what is carried on.
            tokenizer: the model's.
            n_ctx: tokens that the model can hold; a prompt takes less than half.
        """
        initial: list[int] = []
        if options.initial_prompt is not None:
            initial = prompt_ids(tokenizer, options.initial_prompt)
        hotwords: list[int] = []
        room = n_ctx // 2 - 1
        if options.hotwords and not options.prefix:
            hotwords = prompt_ids(tokenizer, options.hotwords)[:room]
        return cls(
            initial,
            hotwords,
            options.carry_initial_prompt,
            options.condition_on_previous_text,
            room - len(hotwords),
            list(initial),
        )

    @property
    def said(self) -> list[int]:
        """All that was transcribed."""
        return self.tokens[len(self.initial) :]

    def next(self) -> list[int]:
        """The prompt of the next window."""
        if not self.carry:
            return self.hotwords + _last(self.tokens[self.forgotten :], self.room)
        rest = self.tokens[max(len(self.initial), self.forgotten) :]
        room = self.room - len(self.initial)
        return self.hotwords + _last(self.initial, self.room) + _last(rest, room)

    def add(self, segments: Sequence[Segment], temperature: float) -> None:
        """Remember the segments of a window."""
        for segment in segments:
            self.tokens += segment.tokens
        if not self.condition or temperature > LEAST_TRUSTED_TEMPERATURE:
            self.forgotten = len(self.tokens)


def _last(tokens: Sequence[int], count: int) -> list[int]:
    """The last ``count`` tokens; none when there is no room."""
    return list(tokens[-count:]) if count > 0 else []
