"""The linear merge with an alpha for each depth and part of a model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import final

from bai_sweep.merging._types import Block, Method, Part, TensorInfo, Values
from bai_sweep.merging.methods._linear import Linear

Points = tuple[float, float, float]


@final
@dataclass(frozen=True)
class Depth(Method):
    """`alpha * base + (1 - alpha) * sum_i w_i * sft_i` with the alpha of the tensor, see `alpha_of`.

    Args:
        alpha: Outside the layers, where the part has none of its own.
        weights: Of the SFT models.
        layers: alpha at the first, the middle and the last layer.
        parts: alpha of some kinds of tensor, in place of their layer's.
        base: The base's name.
    """

    alpha: float
    weights: Mapping[str, float]
    layers: Points
    parts: Mapping[Part, float]
    base: str = "base"

    @property
    def members(self) -> tuple[str, ...]:
        """All that some tensor may need; the base even at an alpha of 0 if another alpha differs from it."""
        alphas = {self.alpha, *self.layers, *self.parts.values()}
        return self._linear(alphas.pop() if len(alphas) == 1 else 0.5).members

    def alpha_of(self, tensor: TensorInfo) -> float:
        """The base's share in a tensor: its part's, else its layer's, else the merge's."""
        if tensor.part in self.parts:
            return self.parts[tensor.part]
        return self.alpha if tensor.depth is None else _between(self.layers, tensor.depth)

    def combine(self, block: Block, survey: None) -> Values:
        return self._linear(self.alpha_of(block.tensor)).combine(block, survey)

    def _linear(self, alpha: float) -> Linear:
        return Linear(alpha, self.weights, self.base)


def _between(points: Points, depth: float) -> float:
    """The piecewise linear function through the points at depths 0, 0.5 and 1."""
    left, right = points[:2] if depth < 0.5 else points[1:]
    way = 2.0 * depth if depth < 0.5 else 2.0 * depth - 1.0
    # within the two, so that rounding keeps one value one value and a ratio a ratio
    return min(max((1.0 - way) * left + way * right, min(left, right)), max(left, right))
