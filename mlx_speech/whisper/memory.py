"""How much memory a batch of windows takes, and how many windows fit in what there is.

Counted from the sizes of the model, not measured, so that it is known beforehand. Most
of it is what the decoder reads of each window, its cache of tokens, and the weights: of
large-v3 in half precision 0.25 GB a window, 0.04 GB a row, and 3.1 GB.
"""

from __future__ import annotations

import mlx.core as mx

from mlx_speech import backend
from mlx_speech.errors import SpeechError
from mlx_speech.hub.save import flatten_parameters
from mlx_speech.nn.conv import current_device
from mlx_speech.whisper.model import Whisper
from mlx_speech.whisper.transcription_options import TranscriptionOptions

MEGABYTE = 10**6
# Windows that are decoded at once: more are hardly quicker, and take memory.
MOST_WINDOWS = 8
# Arrays of the size of the inner layer of a feed-forward network that the encoder has
# at once: nine on a CPU, where the error function is a quotient of polynomials.
ENCODER_ARRAYS = 9
# Arrays of the size of all scores of attention that it has at once, and the most that a
# CPU makes ahead.
SCORE_ARRAYS = 4
SCORE_BYTES = 72 * MEGABYTE
# Arrays of the size of the logits that rules, sampling and the step ahead have at once,
# and those for the times of words.
LOGIT_ARRAYS = 12
ALIGNMENT_ARRAYS = 5
# Tokens before the first that is sampled, where nothing is prompted.
START_TOKENS = 4
FLOAT32_BYTES = 4
# Half a minute of samples on the way to their loudest moment.
SPECTROGRAM_BYTES = 22 * MEGABYTE


def fitting_windows(
    model: Whisper, options: TranscriptionOptions, draft: Whisper | None = None
) -> int:
    """How many windows to decode at once, when nobody says so.

    As many as fit in the limit that was set (``backend.limit_memory``), else in half of
    what MLX allows itself on this machine; ``MOST_WINDOWS`` at most, one at least, and
    one with a draft.

    Raises:
        SpeechError: a limit was set, and a single window does not fit.
    """
    least = bytes_needed(model, options, 1, draft)
    limit = backend.memory_limit()
    if limit is not None and least > limit:
        raise SpeechError(
            f"the model and one window take {_size(least)} of memory, and the limit is "
            f"{_size(limit)}",
            "raise the limit, or take a smaller or a quantised model",
        )
    most = MOST_WINDOWS if draft is None else 1
    budget = backend.memory_budget()
    for windows in range(most, 1, -1):
        if bytes_needed(model, options, windows) <= budget:
            return windows
    return 1


def bytes_needed(
    model: Whisper,
    options: TranscriptionOptions,
    windows: int,
    draft: Whisper | None = None,
) -> int:
    """Memory that MLX needs at most to transcribe, the weights included.

    Args:
        model: the model.
        options: of the transcription.
        windows: that are decoded at once.
        draft: guesses ahead.
    """
    models = [model] if draft is None else [model, draft]
    weights = {
        id(array): array.nbytes
        for each in models
        for array in flatten_parameters(each).values()
    }
    kept = sum(windows * _kept(each) for each in models)
    decoding = sum(windows * _decoding(each, options, windows) for each in models)
    return (
        sum(weights.values())
        + sum(_table_copy(each) for each in models)
        + max(
            SPECTROGRAM_BYTES,
            windows * (_spectrogram(model) + _features(model))
            + max(_encoder(each) for each in models),
            kept + decoding,
            kept + _alignment(model, options),
        )
    )


def _table_copy(model: Whisper) -> int:
    """See ``nn.few_rows.Embedding``."""
    table = model.decoder.embed_tokens.weight
    is_copied = table.dtype == mx.float32 and current_device() == "cpu"
    return table.nbytes if is_copied else 0


def _encoder(model: Whisper) -> int:
    """What is between the layers while one window is encoded."""
    config = model.config
    inner = config.n_audio_ctx * config.n_audio_mlp * model.dtype.size
    scores = config.n_audio_head * config.n_audio_ctx**2 * model.dtype.size
    in_blocks = min(SCORE_ARRAYS * scores, SCORE_BYTES)
    return max(ENCODER_ARRAYS * inner, in_blocks)


def _spectrogram(model: Whisper) -> int:
    """One window, and the same among the others of a batch."""
    return 2 * model.config.n_frames * model.config.n_mels * FLOAT32_BYTES


def _features(model: Whisper) -> int:
    """What the encoder makes of one window."""
    return model.config.n_audio_ctx * model.config.n_audio_state * model.dtype.size


def _kept(model: Whisper) -> int:
    """Features of one window, and what the decoder reads of them."""
    return (1 + 2 * model.config.n_text_layer) * _features(model)


def _decoding(model: Whisper, options: TranscriptionOptions, windows: int) -> int:
    """What the decoding of one window takes besides."""
    config = model.config
    token = 2 * config.n_text_layer * config.n_text_state * model.dtype.size
    cache = _tokens(model, options) * token
    logits = LOGIT_ARRAYS * config.n_vocab * FLOAT32_BYTES
    drawn = (options.best_of or 1) if max(options.temperatures) > 0 else 1
    beams = options.beam_size or 1
    # Beams move to other rows at each step.
    caches = max(drawn, 2 * beams if beams > 1 else 1)
    rows = max(drawn, beams) * logits + caches * cache
    # Windows that failed are put together for the next temperature.
    again = windows > 1 and len(options.temperatures) > 1
    return rows + (_kept(model) if again else 0)


def _alignment(model: Whisper, options: TranscriptionOptions) -> int:
    """Logits of all tokens of one window at once, for the times of words."""
    if not options.word_timestamps:
        return 0
    logits = _tokens(model, options) * model.config.n_vocab * FLOAT32_BYTES
    return ALIGNMENT_ARRAYS * logits


def _tokens(model: Whisper, options: TranscriptionOptions) -> int:
    """Tokens of a row that there is room for."""
    most = model.config.n_text_ctx
    if options.initial_prompt or options.hotwords or options.prefix:
        return most
    return min(most, START_TOKENS + (options.sample_len or most // 2))


def _size(count: int) -> str:
    """In megabytes; a need rounded down would be refused again as a limit."""
    return f"{-(-count // MEGABYTE)} MB"
