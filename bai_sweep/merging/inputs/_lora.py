"""The product of two thin matrices, a run of its elements at a time, each element always rounded alike."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bai_sweep.merging._types import Values

Matrix = NDArray[np.float32]

# The product is made in tiles of whole rows that begin at multiples of _ROWS, wherever a run begins: BLAS may add in
# another order for another number of rows, and a tile has always the same ones.
_ROWS = 8
# OpenBLAS works on a product of at most this many multiplications in the thread that calls it (its
# GEMM_MULTITHREAD_THRESHOLD of 4, times 65536); ours are threads already.
_ALONE = 262144
_HELD = 8


@dataclass(frozen=True)
class Factors:
    """`left @ right` is what an adapter adds to a matrix: (rows, rank) and (rank, columns), the scale in `left`."""

    left: Matrix
    right: Matrix


class Products:
    """Adds products to runs of values; each thread has its own room, and the factors used last are held."""

    def __init__(self) -> None:
        self._rooms = threading.local()
        self._lock = threading.Lock()
        self._held: OrderedDict[str, Factors] = OrderedDict()

    def factors(self, name: str, load: Callable[[], Factors]) -> Factors:
        """The factors of a tensor, loaded if they are not among the last few: a large adapter is not held whole."""
        with self._lock:
            found = self._held.get(name)
            if found is None:
                found = self._held[name] = load()
            self._held.move_to_end(name)
            if len(self._held) > _HELD:
                self._held.popitem(last=False)
            return found

    def add(self, factors: Factors, start: int, into: Values) -> None:
        """Adds the product's elements from `start` on, in row-major order."""
        rows, columns = len(factors.left), factors.right.shape[1]
        if not into.size:
            return
        first = start // columns // _ROWS * _ROWS
        last = min(-(-(start + into.size) // (columns * _ROWS)) * _ROWS, rows)
        product = self._room((last - first) * columns).reshape(-1, columns)
        _multiply(factors.left[first:last], factors.right, product)
        begin = start - first * columns
        into += product.reshape(-1)[begin : begin + into.size]

    def _room(self, size: int) -> Values:
        room: Values | None = getattr(self._rooms, "product", None)
        if room is None or room.size < size:
            room = self._rooms.product = np.empty(size, np.float32)
        return room[:size]


def _multiply(left: Matrix, right: Matrix, product: Matrix) -> None:
    """`product = left @ right`, tile by tile; `left` begins at a tile's first row and ends at a tile's last."""
    rank, columns = right.shape
    step = max(1, _ALONE // (_ROWS * rank))
    whole = len(left) // _ROWS * _ROWS
    tiles = left[:whole].reshape(-1, _ROWS, rank)
    products = product[:whole].reshape(-1, _ROWS, columns)
    for column in range(0, columns, step):
        part = slice(column, column + step)
        np.matmul(tiles, right[:, part], out=products[:, :, part])
        if whole < len(left):
            np.matmul(left[whole:], right[:, part], out=product[whole:, part])
