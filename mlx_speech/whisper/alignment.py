"""When each token was heard: from the decoder's attention to a path through time.

Some heads of the cross-attention look at the place of the recording that they write
down (Radford et al. 2022, as in OpenAI's program). Their weights, sharpened and
smoothed, are a table of tokens against time, through which dynamic time warping finds
the best way. On the host, in numpy: the tables are small, the warping is sequential.
"""

from __future__ import annotations

import numpy as np

from mlx_speech.errors import SpeechError

# Positions of the encoder over which the weights are smoothed.
MEDIAN_WIDTH = 7
_BOTH, _DOWN, _RIGHT = 0, 1, 2


def attention_table(scores_hlp: np.ndarray) -> np.ndarray:
    """How strongly the heads together connect each token with each position.

    Args:
        scores_hlp: float32 [heads, tokens, positions], before softmax; only positions
            with sound.

    Returns:
        float32 [tokens, positions], higher where a token may have been heard. Zero
        where a head treats all tokens alike.
    """
    weights = np.exp(scores_hlp - scores_hlp.max(axis=-1, keepdims=True))
    weights /= weights.sum(axis=-1, keepdims=True)
    # Some positions draw the attention of all tokens: what counts is who looks more.
    weights -= weights.mean(axis=1, keepdims=True)
    deviation = np.sqrt(np.square(weights).mean(axis=1, keepdims=True))
    np.divide(weights, deviation, out=weights, where=deviation > 0)
    return median_filter(weights, MEDIAN_WIDTH).mean(axis=0)


def median_filter(values: np.ndarray, width: int) -> np.ndarray:
    """Median of ``width`` (odd) neighbours along the last axis.

    The ends are reflected; what is no longer than half the width stays as it is.
    """
    half = width // 2
    if values.shape[-1] <= half:
        return values
    edges = [(0, 0)] * (values.ndim - 1) + [(half, half)]
    padded = np.pad(values, edges, mode="reflect")
    windows = np.lib.stride_tricks.sliding_window_view(padded, width, axis=-1)
    return np.partition(windows, half, axis=-1)[..., half]


def warp(cost: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Pair tokens with positions in order, at the least cost, as OpenAI's program does.

    It is not the warping of `audio.metrics`, which steps over both where two steps cost
    the same: OpenAI's goes right unless another step is cheaper than each of the rest,
    even when right is the dearest. That moves words.

    Args:
        cost: [tokens, positions], finite, neither of them zero.

    Returns:
        Indices of tokens and of positions, int64 [length of the path] each, from the
        first of both to the last of both. Every token and position occurs.

    Raises:
        SpeechError: a cost that is no finite number.
    """
    if not np.isfinite(cost).all():
        raise SpeechError(
            "the model's attention holds values that are no numbers",
            "its weights are damaged, or too large for this precision",
        )
    steps = _best_steps(np.asarray(cost, dtype=np.float64))
    rows = cost.shape[0]
    flat = steps.tobytes()
    i, j = rows - 1, cost.shape[1] - 1
    path = [(i, j)]
    while i or j:
        step = flat[(i + j) * rows + i]
        i -= step != _RIGHT
        j -= step != _DOWN
        path.append((i, j))
    tokens, positions = np.array(path[::-1], dtype=np.int64).T
    return tokens, positions


def _best_steps(cost: np.ndarray) -> np.ndarray:
    """By which step each cell is reached, uint8 [diagonals, rows].

    Cell (i, j) lies at [i + j, i]: a diagonal needs only the two before it, so that
    each is one operation on vectors. What lies outside of the table is infinite.
    """
    rows, columns = cost.shape
    skewed = np.full((rows + columns - 1, rows), np.inf)
    for i, row in enumerate(cost):
        skewed[i : i + columns, i] = row
    steps = np.empty(skewed.shape, dtype=np.uint8)
    # One element more than rows: the first one stands for the row before the first.
    last, last_but_one = np.full((2, rows + 1), np.inf)
    last_but_one[0] = 0.0
    for index, diagonal in enumerate(skewed):
        both, down, right = last_but_one[:-1], last[:-1], last[1:]
        is_both = both < np.minimum(down, right)
        is_down = down < np.minimum(both, right)
        steps[index] = np.where(is_both, _BOTH, np.where(is_down, _DOWN, _RIGHT))
        chosen = np.where(is_both, both, np.where(is_down, down, right))
        total = np.full(rows + 1, np.inf)
        total[1:] = diagonal + chosen
        last, last_but_one = total, last
    return steps
