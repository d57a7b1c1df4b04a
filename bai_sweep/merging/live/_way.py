"""The arithmetic of an actor in memory: from the base on the way to stage 1, `base + (1 - alpha) * (stage 1 - base)`.

The linear merge, written so that a new alpha is one pass of one torch kernel over two held vectors. Stage 1 and its
difference from the base are rounded to float32, product and sum as the kernel does it (at once, where the machine
can). So an actor may differ from the folder of the same merge by float32's last rounding, and from itself never: from
files, from memory, and with any number of threads it is the same bit for bit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, final

import numpy as np

from bai_sweep.merging._types import Block, Method, TensorInfo, Values
from bai_sweep.merging.methods import Linear, stage_one

BASE = "base"

Share = float | Callable[[TensorInfo], float]
"""The base's share: one for all tensors, or each tensor's."""


@final
@dataclass(frozen=True)
class ToStage1(Method):
    """`stage 1 - base`.

    Args:
        weights: Of the SFT models, in the order of the sum.
    """

    weights: Mapping[str, float]

    @property
    def members(self) -> tuple[str, ...]:
        """The base, and the SFT models."""
        return (BASE, *self.weights)

    def combine(self, block: Block, survey: Any) -> Values:
        """The difference in room 0; room 1 has the base."""
        del survey
        stage1 = stage_one(self._read(block), block.room(0))
        return np.subtract(stage1, block.read(BASE, 1), out=stage1)

    def _read(self, block: Block) -> Iterator[tuple[Values, float]]:
        for index, (name, weight) in enumerate(self.weights.items()):
            yield block.read(name, min(index, 1)), weight


@final
@dataclass(frozen=True)
class OnTheWay(Method):
    """The merge itself, from files.

    Args:
        share: The base's.
        weights: Of the SFT models, in the order of the sum.
    """

    share: Share
    weights: Mapping[str, float]

    @property
    def members(self) -> tuple[str, ...]:
        """The base, and the SFT models."""
        return (BASE, *self.weights)

    def combine(self, block: Block, survey: Any) -> Values:
        """The merge, in room 0 or 1."""
        from bai_sweep.merging.live._kernel import go

        share = share_of(self.share, block.tensor)
        if share in (0.0, 1.0):  # exactly what it says, which the way from the base would not end at
            return Linear(share, self.weights).combine(block, survey)
        way = ToStage1(self.weights).combine(block, survey)
        base = block.room(1)
        go(base, way, share, base)
        return base


def share_of(share: Share, tensor: TensorInfo) -> float:
    """The base's share of a tensor."""
    return share(tensor) if callable(share) else share
