"""Connectionist temporal classification: the loss of a sequence without an alignment.

Graves et al., "Connectionist Temporal Classification: Labelling Unsegmented Sequence
Data with Recurrent Neural Networks", 2006. The forward and the backward recursion
(section 4.1) run side by side, as rows of one batch: the backward one is the forward
one over reversed frames and labels. Their product gives the gradient, so nothing of
the recursion is kept for differentiation.
"""

from __future__ import annotations

import mlx.core as mx
import numpy as np

from mlx_speech.errors import SpeechError

BLANK = 0
# The logarithm of a probability of nothing: finite, since infinities make NaN.
_NEVER = -1e30


def ctc_loss(
    log_probs_btk: mx.array,
    frame_lengths_b: np.ndarray,
    labels_bn: np.ndarray,
    label_lengths_b: np.ndarray,
) -> mx.array:
    """Negative log-probability of each row's labels, over all of their alignments.

    Args:
        log_probs_btk: logarithms of probabilities [batch, frames, classes]; class 0 is
            the blank.
        frame_lengths_b: int [batch], frames of each row that count, at least 1.
        labels_bn: int [batch, most labels], padded with anything.
        label_lengths_b: int [batch], labels of each row, perhaps 0.

    Returns:
        float32 [batch], differentiable with respect to ``log_probs_btk`` (once).

    Raises:
        SpeechError: lengths that do not fit the arrays, labels that are blanks or no
            classes, or more labels than a row's frames can hold (a repeated label
            needs a blank, so a frame more).
    """
    batch, frames, classes = log_probs_btk.shape
    frame_lengths_b = np.asarray(frame_lengths_b)
    label_lengths_b = np.asarray(label_lengths_b)
    labels_bn = np.where(
        np.arange(labels_bn.shape[1]) < label_lengths_b[:, None], labels_bn, BLANK
    )
    _check(frames, classes, frame_lengths_b, labels_bn, label_lengths_b)
    states = 2 * labels_bn.shape[1] + 1
    # Blanks before, between and after the labels; those past a row's end mean nothing.
    symbols_bs = np.full((batch, states), BLANK)
    symbols_bs[:, 1::2] = labels_bn
    last_b = 2 * label_lengths_b
    backwards_bs = _reversal(states, last_b + 1)
    reversed_bs = np.take_along_axis(symbols_bs, backwards_bs, axis=1)

    chosen_bts = mx.take_along_axis(
        log_probs_btk.astype(mx.float32), mx.array(symbols_bs)[:, None], axis=2
    )
    fixed_bts = mx.stop_gradient(chosen_bts)
    frames_back_bt = mx.array(_reversal(frames, frame_lengths_b))[:, :, None]
    states_back_bs = mx.array(backwards_bs)[:, None]
    flipped_bts = _flip(fixed_bts, frames_back_bt, states_back_bs)
    both_rts = mx.concatenate([fixed_bts, flipped_bts])
    prefixes_rts = _forward(
        both_rts,
        np.concatenate([frame_lengths_b] * 2),
        np.concatenate([symbols_bs, reversed_bs]),
        np.concatenate([last_b] * 2),
    )
    forward_bts, backward_bts = prefixes_rts[:batch], prefixes_rts[batch:]
    backward_bts = _flip(backward_bts, frames_back_bt, states_back_bs)
    # Both count the frame itself.
    through_bts = forward_bts + backward_bts - fixed_bts
    valid_bs = mx.array(np.arange(states) <= last_b[:, None])[:, None]
    through_bts = mx.where(valid_bs, through_bts, _NEVER)
    # The same at every frame, but for rounding; the first one always counts.
    total_b = mx.logsumexp(through_bts[:, 0], axis=-1)
    counts_bt = mx.array(np.arange(frames) < frame_lengths_b[:, None])
    occupancy_bts = mx.where(
        counts_bt[:, :, None], mx.exp(through_bts - total_b[:, None, None]), 0.0
    )
    # d loss / d log-probability is minus the occupancy: this term has the value 0.
    moved_bts = mx.where(occupancy_bts > 0, chosen_bts - fixed_bts, 0.0)
    slope_b = (mx.stop_gradient(occupancy_bts) * moved_bts).sum(axis=2).sum(axis=1)
    return mx.stop_gradient(-total_b) - slope_b


def _forward(
    log_probs_rts: mx.array,
    frame_lengths_r: np.ndarray,
    symbols_rs: np.ndarray,
    last_r: np.ndarray,
) -> mx.array:
    """Log-probability of all ways to be in a state at a frame, the frame included.

    After a row's last frame its values stand still.
    """
    rows, frames, states = log_probs_rts.shape
    different = symbols_rs[:, 2:] != symbols_rs[:, :-2]
    may_skip = (symbols_rs[:, 2:] != BLANK) & different
    # A label may follow another one without a blank between them.
    skips = np.full((rows, states), _NEVER, np.float32)
    skips[:, 2:][may_skip] = 0.0
    skip_rs = mx.array(skips)
    starts = (np.arange(states) < 2) & (np.arange(states) <= last_r[:, None])
    ways_rs = mx.where(mx.array(starts), log_probs_rts[:, 0], _NEVER)
    found = [ways_rs]
    shortest = int(frame_lengths_r.min())
    for frame in range(1, frames):
        padded = mx.pad(ways_rs, [(0, 0), (2, 0)], constant_values=_NEVER)
        one_back, two_back = padded[:, 1:-1], padded[:, :-2] + skip_rs
        most = mx.maximum(mx.maximum(ways_rs, one_back), two_back)
        together = mx.exp(ways_rs - most) + mx.exp(one_back - most)
        together = together + mx.exp(two_back - most)
        next_rs = most + mx.log(together) + log_probs_rts[:, frame]
        if frame >= shortest:
            going_on = mx.array(frame < frame_lengths_r)[:, None]
            next_rs = mx.where(going_on, next_rs, ways_rs)
        ways_rs = next_rs
        found.append(ways_rs)
    return mx.stack(found, axis=1)


def _reversal(size: int, lengths_b: np.ndarray) -> np.ndarray:
    """Indices [batch, size] that reverse each row's first ``length`` entries."""
    places = np.arange(size)
    mirrored = lengths_b[:, None] - 1 - places
    return np.where(mirrored >= 0, mirrored, places)


def _flip(x_bts: mx.array, frames_bt1: mx.array, states_b1s: mx.array) -> mx.array:
    """Reorder frames, then states, by indices."""
    x_bts = mx.take_along_axis(x_bts, frames_bt1, axis=1)
    return mx.take_along_axis(x_bts, states_b1s, axis=2)


def _check(
    frames: int,
    classes: int,
    frame_lengths_b: np.ndarray,
    labels_bn: np.ndarray,
    label_lengths_b: np.ndarray,
) -> None:
    if frame_lengths_b.min() < 1 or frame_lengths_b.max() > frames:
        raise SpeechError(
            f"frame lengths from {frame_lengths_b.min()} to {frame_lengths_b.max()} do "
            f"not fit {frames} frames"
        )
    if label_lengths_b.min() < 0 or label_lengths_b.max() > labels_bn.shape[1]:
        raise SpeechError(
            f"label lengths from {label_lengths_b.min()} to {label_lengths_b.max()} do "
            f"not fit {labels_bn.shape[1]} labels"
        )
    real = np.arange(labels_bn.shape[1]) < label_lengths_b[:, None]
    if (real & ((labels_bn <= BLANK) | (labels_bn >= classes))).any():
        raise SpeechError(f"labels must lie from 1 to {classes - 1}")
    repeated = real[:, 1:] & (labels_bn[:, 1:] == labels_bn[:, :-1])
    needed = label_lengths_b + repeated.sum(axis=1)
    if (needed > frame_lengths_b).any():
        row = int(np.argmax(needed - frame_lengths_b))
        raise SpeechError(
            f"row {row} has {label_lengths_b[row]} labels, which need {needed[row]} "
            f"frames and have {frame_lengths_b[row]}",
            "leave out what is said so fast, or use coarser labels",
        )
