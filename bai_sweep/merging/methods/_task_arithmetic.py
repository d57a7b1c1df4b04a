"""Task arithmetic: models as directions from the base (Ilharco et al. 2023, arXiv 2212.04089)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import final

from bai_sweep.merging._types import Block, Method, Values
from bai_sweep.merging.methods._arithmetic import stage_one
from bai_sweep.merging.methods._task_vectors import BASE_ROOM, FREE_ROOM, members_read, moved, task_vectors


@final
@dataclass(frozen=True)
class TaskArithmetic(Method):
    """`base + scale * sum_i w_i * (sft_i - base)`.

    Args:
        weights: Of the SFT models, none of them 0.
        scale: Of the merged task vector; above 1 it extrapolates.
        base: The base's name.
    """

    weights: Mapping[str, float]
    scale: float
    base: str = "base"

    @property
    def members(self) -> tuple[str, ...]:
        return members_read(self.weights, self.scale, self.base)

    def combine(self, block: Block, survey: None) -> Values:
        del survey
        base = block.read(self.base, BASE_ROOM)
        if self.scale == 0.0:
            return base
        vectors = ((vector, weight) for _, vector, weight in task_vectors(block, base, self.weights))
        return moved(base, stage_one(vectors, block.room(FREE_ROOM)), self.scale)
