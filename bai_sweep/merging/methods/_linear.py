"""Both stages in one pass: each member read once, one rounding to the output's dtype."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import final

from bai_sweep.merging._types import Block, Method, Values
from bai_sweep.merging.methods._arithmetic import interpolate, stage_one
from bai_sweep.records import UserError


@final
@dataclass(frozen=True)
class Linear(Method):
    """`alpha * base + (1 - alpha) * sum_i w_i * sft_i` in float32; how exact that is, `_arithmetic` says.

    Args:
        alpha: The base's share; at 0 the base is not read, at 1 no SFT model is.
        weights: Of the SFT models, in the order of the sum; one of weight 0 is not read.
        base: The base's name.

    Raises:
        UserError: There is nothing to merge.
    """

    alpha: float
    weights: Mapping[str, float]
    base: str = "base"

    def __post_init__(self) -> None:
        if self.alpha != 1.0 and not self._sft:
            raise UserError(
                "a merge with alpha below 1 needs an SFT model of a weight other than 0; "
                f"got alpha={self.alpha:g} and weights {dict(self.weights)}"
            )

    @property
    def members(self) -> tuple[str, ...]:
        """The base unless alpha is 0, then the SFT models of a weight other than 0 unless alpha is 1."""
        return (*([self.base] if self.alpha != 0.0 else []), *self._sft)

    def combine(self, block: Block, survey: object) -> Values:
        """The merge of a block, in room 0; room 1 is used too."""
        del survey
        if self.alpha == 1.0:
            return block.read(self.base, 0)
        merged = stage_one(self._read(block), block.room(0))
        if self.alpha == 0.0:
            return merged
        base = block.read(self.base, 1)
        return interpolate(base, merged, self.alpha, merged, base)

    @cached_property
    def _sft(self) -> Mapping[str, float]:
        """What is read besides the base."""
        return {name: weight for name, weight in self.weights.items() if weight != 0.0 and self.alpha != 1.0}

    def _read(self, block: Block) -> Iterator[tuple[Values, float]]:
        """The first model in room 0, where the sum is to be, each other in room 1."""
        for index, (name, weight) in enumerate(self._sft.items()):
            yield block.read(name, min(index, 1)), weight
