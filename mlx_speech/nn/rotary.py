"""The blocks of Llama: attention with rotary positions, and the gated feed-forward.

Su et al., "RoFormer", 2021, for the positions; Ainslie et al., "GQA", 2023, for heads
of queries that share keys and values; Shazeer, "GLU Variants Improve Transformer", 2020
for the feed-forward network. Names are those of the Hugging Face checkpoints, and so is
the order of channels: the two of a rotated pair lie half a head apart.
"""

from __future__ import annotations

import mlx.core as mx
import mlx.nn as nn

from mlx_speech.errors import SpeechError
from mlx_speech.nn.activations import sigmoid
from mlx_speech.nn.attention import merge_heads, split_heads
from mlx_speech.nn.caches import Cache, Mask, SlidingCache

# Positions of a stream are counted anew from here on: float32 knows the angle of a
# position p only to p / 2^24 of a turn or so. Attention sees distances only.
RESTART_AT = 1 << 16


class RotaryAttention(nn.Module):
    """Attention of a sequence to itself and to what came before.

    Args:
        channels: of input and output.
        n_heads: heads of queries.
        n_kv_heads: heads of keys and values; must divide ``n_heads``.
        head_channels: of each head, even; together they may be more than ``channels``.
        rope_theta: base of the positions' wavelengths.
        biases: the projections that have one, of "q", "k", "v" and "o".

    Raises:
        SpeechError: heads that cannot share evenly, or of an odd number of channels.
    """

    def __init__(
        self,
        channels: int,
        n_heads: int,
        n_kv_heads: int,
        head_channels: int,
        rope_theta: float,
        biases: str = "",
    ) -> None:
        super().__init__()
        if n_heads % n_kv_heads or head_channels % 2:
            raise SpeechError(
                f"{n_heads} heads of {head_channels} channels cannot share "
                f"{n_kv_heads} heads of keys by rotary positions",
                "choose heads that divide each other, of an even number of channels",
            )
        self.n_heads, self.n_kv_heads = n_heads, n_kv_heads
        self.head_channels = head_channels
        self.rope_theta = rope_theta
        queries, keys = n_heads * head_channels, n_kv_heads * head_channels
        self.q_proj = nn.Linear(channels, queries, "q" in biases)
        self.k_proj = nn.Linear(channels, keys, "k" in biases)
        self.v_proj = nn.Linear(channels, keys, "v" in biases)
        self.o_proj = nn.Linear(queries, channels, "o" in biases)

    def __call__(self, x_blc: mx.array, mask: Mask, cache: Cache) -> mx.array:
        """Attend.

        Args:
            x_blc: [batch, length, channels].
            mask: of ``cache`` for so many tokens.
            cache: earlier tokens; those of ``x`` are added.

        Returns:
            [batch, length, channels].
        """
        if isinstance(cache, SlidingCache) and cache.position >= RESTART_AT:
            cache.restart_positions(self._turned)
        position = cache.position
        query = self._rotate(split_heads(self.q_proj(x_blc), self.n_heads), position)
        keys = self._rotate(split_heads(self.k_proj(x_blc), self.n_kv_heads), position)
        values = split_heads(self.v_proj(x_blc), self.n_kv_heads)
        keys, values = cache.append(keys, values)
        # MLX's own attention: heads of queries may share heads of keys in it.
        attended = mx.fast.scaled_dot_product_attention(
            query, keys, values, scale=self.head_channels**-0.5, mask=mask
        )
        return self.o_proj(merge_heads(attended))

    def _turned(self, keys_bhlc: mx.array, steps: int) -> mx.array:
        """Rotated keys as they are so many positions further, all by the same angle."""
        batch, heads, length, channels = keys_bhlc.shape
        apart = keys_bhlc.reshape(batch, heads * length, 1, channels)
        return self._rotate(apart, steps).reshape(keys_bhlc.shape)

    def _rotate(self, x_bhlc: mx.array, position: int) -> mx.array:
        return mx.fast.rope(
            x_bhlc,
            self.head_channels,
            traditional=False,
            base=self.rope_theta,
            scale=1.0,
            offset=position,
        )


class SwiGLU(nn.Module):
    """Feed-forward network whose inner channels are gated.

    Args:
        channels: of input and output.
        inner: channels between.
        down_bias: whether the projection back has a bias.
    """

    def __init__(self, channels: int, inner: int, down_bias: bool = False) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(channels, inner, False)
        self.up_proj = nn.Linear(channels, inner, False)
        self.down_proj = nn.Linear(inner, channels, down_bias)

    def __call__(self, x: mx.array) -> mx.array:
        """[..., channels] to the same."""
        gate = self.gate_proj(x)
        return self.down_proj(gate * sigmoid(gate) * self.up_proj(x))
