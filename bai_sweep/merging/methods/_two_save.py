"""The two stages as two runs of a merging tool would make them, with a file between."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from bai_sweep.merging._dtypes import first_nonfinite, narrow, storage, widen
from bai_sweep.merging._types import Block, Dtype, Method, Values
from bai_sweep.merging.methods._arithmetic import interpolate
from bai_sweep.merging.methods._linear import Linear
from bai_sweep.records import UserError


@final
@dataclass(frozen=True)
class TwoSave(Method):
    """`alpha * base + (1 - alpha) * saved`, where `saved` is stage 1 rounded to a file's dtype.

    Args:
        alpha: The base's share; at 0 the base is not read, at 1 no SFT model is.
        weights: Of the SFT models.
        dtype: What stage 1 is saved in.
        base: The base's name.

    Raises:
        UserError: There is nothing to merge.
    """

    alpha: float
    weights: Mapping[str, float]
    dtype: Dtype
    base: str = "base"

    def __post_init__(self) -> None:
        Linear(self.alpha, self.weights, self.base)  # refuses what cannot be merged

    @property
    def members(self) -> tuple[str, ...]:
        """As of the linear merge."""
        return Linear(self.alpha, self.weights, self.base).members

    def combine(self, block: Block, survey: object) -> Values:
        """The merge of a block, in room 0; room 1 is used too.

        Raises:
            UserError: Stage 1 has a value that the dtype cannot hold.
        """
        if self.alpha == 1.0:
            return block.read(self.base, 0)
        stage1 = self._stage1.combine(block, survey)
        saved = block.room(1).view(storage(self.dtype))[: block.size]  # free until the base is read
        if not narrow(stage1, self.dtype, saved) and first_nonfinite(stage1) is None:
            raise self._too_large(block, stage1, saved)
        widen(saved, self.dtype, stage1)
        if self.alpha == 0.0:
            return stage1
        base = block.read(self.base, 1)
        return interpolate(base, stage1, self.alpha, stage1, base)

    def _too_large(self, block: Block, stage1: Values, saved: NDArray[Any]) -> UserError:
        found = np.empty_like(stage1)
        widen(saved, self.dtype, found)
        at = int(np.flatnonzero(~np.isfinite(found))[0])
        return UserError(
            f"{block.tensor.name}, element {block.start + at:,}: stage 1 is {float(stage1[at]):g}, beyond what "
            f"{self.dtype} holds; save it wider, as actor.merge.dtype=bfloat16"
        )

    @cached_property
    def _stage1(self) -> Linear:
        return Linear(0.0, self.weights, self.base)
