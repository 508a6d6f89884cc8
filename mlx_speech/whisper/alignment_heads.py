"""Which heads of the cross-attention follow the time, for each published model.

OpenAI found them by looking at which heads align words well; times of words come from
these. The table holds (layer, head) as published with the models.
"""

from __future__ import annotations

from collections.abc import Sequence

Heads = tuple[tuple[int, int], ...]

# "layer:head,head ..." of each model.
_TABLE = {
    "tiny.en": "1:0 2:0,5 3:0,1,2,3,4",
    "tiny": "2:2 3:0,2,3,4,5",
    "base.en": "3:3 4:7 5:1,5,7",
    "base": "3:1 4:2,3,7 5:1,2,4,6",
    "small.en": "6:6 7:0,3,8 8:2,5,7 9:0,4,8,10 10:0,1,2,3,6,11 11:2,4",
    "small": "5:3,9 8:0,4,7,8 9:0,7,9 10:5",
    "medium.en": "11:4 14:1,12,14 15:4 16:0,4,9 17:12,14 18:7,10,15 20:0,3,9,14 21:12",
    "medium": "13:15 15:4,15 16:1 20:0 23:4",
    "large-v1": "9:19 11:2,4,17 22:7,11,17 23:2,15",
    "large-v2": (
        "10:12 13:17 16:11,12,13 17:15,16 18:4,11,19 19:11 21:2,3 22:3,9,12 23:5,7,13 "
        "25:5 26:1,12 27:15"
    ),
    "large-v3": "7:0 10:17 12:18 13:12 16:1 17:14 19:11 21:4 24:1 25:6",
    "large-v3-turbo": "2:4,11 3:3,6,11,14",
}
_SAME = {"large": "large-v3", "turbo": "large-v3-turbo"}


def published_heads(name: str) -> Heads:
    """The heads of a published model such as "large-v3"; empty for another name."""
    entry = _TABLE.get(_SAME.get(name, name), "")
    pairs = []
    for group in entry.split():
        layer, heads = group.split(":")
        pairs += [(int(layer), int(head)) for head in heads.split(",")]
    return tuple(pairs)


def default_heads(n_layers: int, n_heads: int) -> Heads:
    """All heads of the upper half of the layers: for want of better ones."""
    layers = range(n_layers // 2, n_layers)
    return tuple((layer, head) for layer in layers for head in range(n_heads))


def fitting_heads(
    heads: Sequence[tuple[int, int]], n_layers: int, n_heads: int
) -> bool:
    """Whether all heads exist in a decoder of this size."""
    return all(0 <= layer < n_layers and 0 <= head < n_heads for layer, head in heads)
