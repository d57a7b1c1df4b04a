"""What the methods on task vectors share: `base + scale * direction`, the direction made of `sft_i - base`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from bai_sweep.merging._types import Block, Values

BASE_ROOM, VECTOR_ROOM, FREE_ROOM = 0, 1, 2
"""The base's room, that of the vector in hand, and the first one that a method may use for itself."""


def members_read(weights: Mapping[str, float], scale: float, base: str) -> tuple[str, ...]:
    """The base, and the SFT models unless nothing of them would be in the merge."""
    return (base, *weights) if scale != 0.0 else (base,)


def task_vectors(block: Block, base: Values, members: Mapping[str, float]) -> Iterator[tuple[str, Values, float]]:
    """Each SFT model's `sft - base`, rounded to float32, with its name and weight; all in the one room for vectors."""
    for member, weight in members.items():
        values = block.read(member, VECTOR_ROOM)
        yield member, np.subtract(values, base, out=values), weight


def times(values: Values, factor: float) -> Values:
    """The values multiplied in place; by a factor of 1 they stay, bit for bit."""
    return values if factor == 1.0 else np.multiply(values, np.float32(factor), out=values)


def moved(base: Values, direction: Values, scale: float) -> Values:
    """`base + scale * direction` in the direction's room, the product and the sum each rounded to float32."""
    return np.add(base, times(direction, scale), out=direction)
