"""The largest values of task vectors: an exact threshold without holding a tensor."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from math import floor

import numpy as np
from numpy.typing import NDArray

from bai_sweep.merging._types import Block, Values
from bai_sweep.merging.methods._task_vectors import BASE_ROOM, task_vectors

Counts = NDArray[np.int64]
Bits = NDArray[np.uint32]

_HIGH, _LOW = 1 << 15, 1 << 16
"""Without its sign a float32 has 31 bits: 15 in its upper half, 16 in its lower."""


def kept(density: float, size: int) -> int:
    """How many values of a tensor are kept: the share rounded down, one at least."""
    return max(1, floor(density * size))


def thresholds(blocks: Iterable[Block], base: str, members: Mapping[str, float], keep: int) -> dict[str, np.float32]:
    """The `keep`-th largest magnitude of each member's task vector over the whole tensor.

    Magnitudes are ordered as the bits of their float32 are. The first pass counts the upper halves of these bits, and
    so finds the one that the threshold has; the second counts the lower halves of values with that upper half. Memory
    is 768 KB a member, whatever the tensor's size, and the counts do not depend on where blocks begin.
    """
    upper = {member: np.zeros(_HIGH, np.int64) for member in members}
    for member, bits in _magnitudes(blocks, base, members):
        halves = np.right_shift(bits, 16, out=bits)
        upper[member] += np.bincount(halves, minlength=_HIGH)
    found = {member: _rank(counts, keep) for member, counts in upper.items()}
    lower = {member: np.zeros(_LOW, np.int64) for member in members}
    for member, bits in _magnitudes(blocks, base, members):
        near = bits[(bits >> 16) == found[member][0]]
        lower[member] += np.bincount(near & 0xFFFF, minlength=_LOW)
    return {member: _value(half, _rank(lower[member], left)[0]) for member, (half, left) in found.items()}


def trim(vector: Values, threshold: np.float32, scratch: Values) -> Values:
    """Zeroes, in place, what is smaller than the threshold; values equal to it stay, all of them."""
    if threshold > 0.0:
        np.multiply(vector, np.greater_equal(np.abs(vector, out=scratch), threshold), out=vector)
    return vector


def _magnitudes(blocks: Iterable[Block], base: str, members: Mapping[str, float]) -> Iterator[tuple[str, Bits]]:
    """The bits of every task vector without their signs."""
    for block in blocks:
        origin = block.read(base, BASE_ROOM)
        for member, vector, _ in task_vectors(block, origin, members):
            bits = vector.view(np.uint32)
            yield member, np.bitwise_and(bits, np.uint32(0x7FFFFFFF), out=bits)


def _rank(counts: Counts, keep: int) -> tuple[int, int]:
    """The bin that holds the `keep`-th largest, and which of that bin's it is."""
    from_the_top = np.cumsum(counts[::-1])
    place = int(np.searchsorted(from_the_top, keep))
    return counts.size - 1 - place, keep - int(from_the_top[place] - counts[counts.size - 1 - place])


def _value(upper: int, lower: int) -> np.float32:
    return np.float32(np.array(upper << 16 | lower, np.uint32).view(np.float32))
