"""Spherical linear interpolation of whole tensors (Shoemake 1985, https://doi.org/10.1145/325334.325242)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import acos, sin, sqrt
from typing import final

import numpy as np

from bai_sweep.merging._types import Block, Method, TensorInfo, Values
from bai_sweep.merging.methods._linear import Linear

PARALLEL = 0.9995
"""From this |cosine| on the sphere is as good as flat, and the interpolation linear."""

_PIECE = 8192
"""Elements summed at a time, counted from the tensor's start, so that blocks do not change the order of a sum."""

Coefficients = tuple[float, float]


@final
@dataclass(frozen=True)
class Slerp(Method):
    """`sin(alpha * t) / sin(t) * base + sin((1 - alpha) * t) / sin(t) * stage_1`, t the angle between the tensors.

    Args:
        alpha: The base's share: at 1 the base, at 0 stage 1 `sum_i w_i * sft_i`.
        weights: Of the SFT models, none of them 0.
        base: The base's name.
    """

    alpha: float
    weights: Mapping[str, float]
    base: str = "base"

    @property
    def members(self) -> tuple[str, ...]:
        return self._linear(self.alpha).members

    @property
    def surveys(self) -> int:
        return 1 if 0.0 < self.alpha < 1.0 else 0

    def survey(self, tensor: TensorInfo, blocks: Iterable[Block]) -> Coefficients:
        """What the base and stage 1 of a tensor are multiplied by; both vectors are the whole tensor."""
        del tensor
        if self.surveys == 0:
            return self.alpha, 1.0 - self.alpha
        products = _Products()
        for block in blocks:
            stage1 = self._linear(0.0).combine(block, None)
            products.add(block.read(self.base, 1), stage1)
        return coefficients(*products.result(), self.alpha)

    def combine(self, block: Block, survey: Coefficients) -> Values:
        if self.surveys == 0:
            return self._linear(self.alpha).combine(block, None)
        of_base, of_stage1 = map(np.float32, survey)
        stage1 = self._linear(0.0).combine(block, None)
        np.multiply(stage1, of_stage1, out=stage1)
        base = block.read(self.base, 1)
        return np.add(stage1, np.multiply(base, of_base, out=base), out=stage1)

    def _linear(self, alpha: float) -> Linear:
        """Works in rooms 0, where its result is, and 1."""
        return Linear(alpha, self.weights, self.base)


def coefficients(base: float, stage1: float, both: float, alpha: float) -> Coefficients:
    """Of the base and of stage 1.

    Args:
        base: Sum of the base's squares.
        stage1: Sum of stage 1's squares.
        both: Sum of the products.
        alpha: The base's share.
    """
    lengths = sqrt(base) * sqrt(stage1)
    # zero vectors have no direction; and neither they nor values that are not finite pass this comparison
    if not lengths > 0.0 or not abs(both / lengths) <= PARALLEL:
        return alpha, 1.0 - alpha
    angle = acos(both / lengths)
    return sin(alpha * angle) / sin(angle), sin((1.0 - alpha) * angle) / sin(angle)


class _Products:
    """Sums of squares and products of two tensors in float64, in one order whatever the blocks."""

    def __init__(self) -> None:
        self._sums = [0.0, 0.0, 0.0]
        self._piece = np.empty((2, _PIECE))
        self._filled = 0

    def add(self, left: Values, right: Values) -> None:
        """The next elements of both."""
        start = 0
        while start < left.size:
            stop = min(left.size, start + _PIECE - self._filled)
            room = self._piece[:, self._filled : self._filled + stop - start]
            room[0], room[1] = left[start:stop], right[start:stop]
            self._filled += stop - start
            start = stop
            if self._filled == _PIECE:
                self._sum_piece()

    def result(self) -> tuple[float, float, float]:
        """Squares of the left, squares of the right, products."""
        self._sum_piece()
        left, right, both = self._sums
        return left, right, both

    def _sum_piece(self) -> None:
        left, right = self._piece[:, : self._filled]
        for number, (one, other) in enumerate(((left, left), (right, right), (left, right))):
            self._sums[number] += float(np.add.reduce(one * other))  # each product of two float32 is exact
        self._filled = 0
