"""The tokens before the first sampled one, and those that are never sampled."""

from __future__ import annotations

from collections.abc import Sequence

from mlx_speech.errors import SpeechError
from mlx_speech.whisper.decoding_options import DecodingOptions
from mlx_speech.whisper.tokenizer import Tokenizer


def initial_tokens(
    tokenizer: Tokenizer,
    options: DecodingOptions,
    language: str,
    n_ctx: int,
    sample_len: int,
) -> tuple[int, ...]:
    """Return everything before the first sampled token."""
    tokens = [
        *tokenizer.sot_sequence(
            language, options.task, timestamps=not options.without_timestamps
        )
    ]
    if options.prefix:
        prefix = prompt_ids(tokenizer, options.prefix)
        # What is sampled may take half of the context; the prefix, what is left of
        # that half. When nothing is left, OpenAI's does not cut.
        tokens += prefix[-(n_ctx // 2 - sample_len) :]
    if options.prompt:
        prompt = prompt_ids(tokenizer, options.prompt)[-(n_ctx // 2 - 1) :]
        tokens = [tokenizer.special.sot_prev, *prompt, *tokens]
    return tuple(tokens)


def suppressed_tokens(
    tokenizer: Tokenizer, wanted: str | Sequence[int] | None
) -> tuple[int, ...]:
    """Return the ids that never come, ascending; -1 stands for annotations.

    Raises:
        SpeechError: a text that is no list of numbers, or an id that is no token.
    """
    if not wanted:
        return ()
    try:
        ids = {int(token) for token in _listed(wanted)}
    except ValueError:
        ids = {-2}
    if not all(-1 <= token < tokenizer.vocabulary.size for token in ids):
        raise SpeechError(
            f"suppress_tokens is {wanted!r}",
            f"give ids from 0 to {tokenizer.vocabulary.size - 1}, or -1",
        )
    if -1 in ids:
        ids = ids - {-1} | set(tokenizer.non_speech_tokens)
    special = tokenizer.special
    ids |= {special.transcribe, special.translate, special.sot}
    ids |= {special.sot_prev, special.sot_lm, special.no_speech}
    return tuple(sorted(ids))


def _listed(wanted: str | Sequence[int]) -> Sequence[str] | Sequence[int]:
    return wanted.split(",") if isinstance(wanted, str) else wanted


def prompt_ids(tokenizer: Tokenizer, text: str | Sequence[int]) -> list[int]:
    """Encode a text as if after another word; take ids as they are."""
    if isinstance(text, str):
        return tokenizer.encode(" " + text.strip())
    return list(text)
