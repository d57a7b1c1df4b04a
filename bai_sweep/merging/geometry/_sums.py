"""The sums that the geometry of a few models is computed from, over one run of elements."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

Sums = NDArray[np.float64]


@dataclass(frozen=True)
class Layout:
    """Where each sum stands in a vector: squared norms, squared distances, then three numbers for each conflict.

    Args:
        models: Their names, the base first where it is one of them, the merge last.
        based: Whether the first is the base, so that there are task vectors.
    """

    models: tuple[str, ...]
    based: bool

    @property
    def pairs(self) -> list[tuple[int, int]]:
        """Every two models, by their places."""
        return list(combinations(range(len(self.models)), 2))

    @property
    def conflicts(self) -> list[tuple[int, int]]:
        """Every two SFT models, by their places; none without a base."""
        return list(combinations(range(1, len(self.models) - 1), 2)) if self.based else []

    @property
    def width(self) -> int:
        """How many sums there are."""
        return len(self.models) + len(self.pairs) + 3 * len(self.conflicts)


class Room:
    """Vectors to work in, of one thread."""

    def __init__(self, models: int, run: int) -> None:
        self.stored = np.empty(run, np.float32)
        self.values = np.empty((models, run), np.float64)
        self.gaps = np.empty((models - 1, run), np.float64)
        self.products = np.empty(run, np.float64)
        self.opposite = np.empty(run, np.bool_)


def add_up(layout: Layout, room: Room, size: int, into: Sums) -> None:
    """Writes the sums over the first `size` values of each model in `room.values`.

    Differences of float32 numbers are taken in float64, where they are all but exact, and squared then: two models
    that hardly differ have no cancellation. No BLAS: it would start threads of its own in the engine's.
    """
    values, count = room.values[:, :size], len(layout.models)
    into[:count] = _squares(values)
    at = count
    for first in range(count - 1):
        gaps = np.subtract(values[first + 1 :], values[first], out=room.gaps[first:, :size])
        into[at : at + len(gaps)] = _squares(gaps)
        at += len(gaps)
        if first == 0 and layout.conflicts:
            into[-3 * len(layout.conflicts) :] = _conflicts(layout, gaps, room)


def _squares(rows: NDArray[np.float64]) -> Sums:
    total: Sums = np.einsum("ij,ij->i", rows, rows)
    return total


def _conflicts(layout: Layout, tasks: NDArray[np.float64], room: Room) -> list[float]:
    """For each two task vectors: the sum of their products, of the absolute products, and how many are negative."""
    size = tasks.shape[1]
    found: list[float] = []
    for one, other in layout.conflicts:
        product = np.multiply(tasks[one - 1], tasks[other - 1], out=room.products[:size])
        negative = np.less(product, 0.0, out=room.opposite[:size])
        signed, opposite = np.add.reduce(product), np.count_nonzero(negative)
        found += [float(signed), float(np.add.reduce(np.absolute(product, out=product))), float(opposite)]
    return found
