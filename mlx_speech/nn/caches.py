"""Keys and values of a decoder's tokens: as many as come, or the latest only.

Both caches are append-only and tell how many tokens they saw, at what position the next
one is, and what mask the next tokens need. Buffers grow by steps, so that few
appends copy what is there (`nn.attention.KeyValueCache` is for a known length).
"""

from __future__ import annotations

from collections.abc import Callable

import mlx.core as mx

from mlx_speech.errors import SpeechError
from mlx_speech.nn.attention import KeysValues

Mask = mx.array | str | None
# Room for so many more tokens, at least, whenever a buffer is made anew.
STEP = 256


class GrowingCache:
    """All tokens.

    Attributes:
        length: tokens that are in.
    """

    def __init__(self) -> None:
        self.length = 0
        self._buffers: KeysValues | None = None

    @property
    def position(self) -> int:
        """Position of the next token."""
        return self.length

    def append(self, keys_bhlc: mx.array, values_bhlc: mx.array) -> KeysValues:
        """Add tokens; give all keys and values, [batch, heads, length, channels]."""
        end = self.length + keys_bhlc.shape[2]
        if self._buffers is None or end > self._buffers[0].shape[2]:
            # In proportion to the length, copies cost a constant for each token.
            room = end + max(STEP, end // 8)
            self._buffers = _larger(
                self._buffers, 0, self.length, keys_bhlc, values_bhlc, room
            )
        found = _write(self._buffers, self.length, end, keys_bhlc, values_bhlc)
        self.length = end
        return found[0][:, :, :end], found[1][:, :, :end]

    def mask(self, added: int) -> Mask:
        """What attention needs for so many new tokens."""
        return "causal" if added > 1 else None


class SlidingCache:
    """The latest tokens, in memory that does not grow with the number of tokens.

    Args:
        window: tokens that a token sees, itself included.

    Attributes:
        length: tokens that were added, forgotten ones included.

    Raises:
        SpeechError: a window without a token.
    """

    def __init__(self, window: int) -> None:
        if window < 1:
            raise SpeechError(f"a window of {window} tokens sees nothing")
        self.window = window
        self.length = 0
        self._position_zero = 0
        self._end = 0
        self._buffers: KeysValues | None = None

    @property
    def position(self) -> int:
        """Position of the next token, counted from the last restart."""
        return self.length - self._position_zero

    def restart_positions(self, turned: Callable[[mx.array, int], mx.array]) -> None:
        """Count positions from the oldest token that is kept.

        Args:
            turned: gives keys [batch, heads, n, channels] as they are so many positions
                further, here a negative number.
        """
        kept = self._kept
        first, shift = self._end - kept, self.position - kept
        self._position_zero += shift
        if self._buffers is not None and shift:
            keys = self._buffers[0]
            keys[:, :, first : self._end] = turned(
                keys[:, :, first : self._end], -shift
            )

    def append(self, keys_bhlc: mx.array, values_bhlc: mx.array) -> KeysValues:
        """Add tokens; give the keys and values that one of them sees, oldest first."""
        kept = self._kept
        added = keys_bhlc.shape[2]
        if self._buffers is None or self._end + added > self._buffers[0].shape[2]:
            room = kept + added + max(STEP, self.window // 4)
            first = self._end - kept
            self._buffers = _larger(
                self._buffers, first, self._end, keys_bhlc, values_bhlc, room
            )
            self._end = kept
        end = self._end + added
        found = _write(self._buffers, self._end, end, keys_bhlc, values_bhlc)
        first = self._end - kept
        self._end = end
        self.length += added
        return found[0][:, :, first:end], found[1][:, :, first:end]

    def mask(self, added: int) -> Mask:
        """What attention needs for so many new tokens.

        "causal", or True where a key may be seen, [added, keys].
        """
        if added == 1:
            return None
        keys = self._kept + added
        if keys <= self.window:
            return "causal"
        distance = mx.arange(self._kept, keys)[:, None] - mx.arange(keys)[None]
        return (distance >= 0) & (distance < self.window)

    @property
    def _kept(self) -> int:
        """Tokens that the next one sees."""
        return min(self.length, self.window - 1)


Cache = GrowingCache | SlidingCache


def new_caches(n_layers: int, window: int | None) -> list[Cache]:
    """An empty cache for each layer; ``window`` None: all tokens are kept."""
    return [
        GrowingCache() if window is None else SlidingCache(window)
        for _ in range(n_layers)
    ]


def _larger(
    buffers: KeysValues | None,
    first: int,
    end: int,
    keys: mx.array,
    values: mx.array,
    room: int,
) -> KeysValues:
    """Buffers for ``room`` tokens that begin with tokens ``first`` to ``end``."""
    made = []
    for index, new in enumerate((keys, values)):
        batch, heads, _, channels = new.shape
        empty = mx.zeros((batch, heads, room - (end - first), channels), new.dtype)
        if buffers is not None:
            empty = mx.concatenate([buffers[index][:, :, first:end], empty], axis=2)
        made.append(empty)
    return made[0], made[1]


def _write(
    buffers: KeysValues, start: int, end: int, keys: mx.array, values: mx.array
) -> KeysValues:
    buffers[0][:, :, start:end] = keys
    buffers[1][:, :, start:end] = values
    return buffers
