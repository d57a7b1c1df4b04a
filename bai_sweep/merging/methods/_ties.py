"""TIES: trim, elect a sign, merge what agrees (Yadav et al. 2023, arXiv 2306.01708)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import final

import numpy as np

from bai_sweep.merging._types import Block, Method, TensorInfo, Values
from bai_sweep.merging.methods._election import Ballot, elect
from bai_sweep.merging.methods._task_vectors import BASE_ROOM, FREE_ROOM, members_read, moved, task_vectors
from bai_sweep.merging.methods._trim import kept, thresholds, trim

Thresholds = Mapping[str, np.float32]


@final
@dataclass(frozen=True)
class Ties(Method):
    """`base + scale * mean_i(trim(sft_i - base))`, the mean weighted and over the values of the elected sign.

    Args:
        weights: Of the SFT models, above 0.
        scale: Of the merged task vector.
        density: The share of each task vector's values, tensor by tensor, that is kept: the largest.
        election: How a sign wins, see `elect`.
        base: The base's name.
    """

    weights: Mapping[str, float]
    scale: float
    density: float
    election: Ballot
    base: str = "base"

    @property
    def members(self) -> tuple[str, ...]:
        return members_read(self.weights, self.scale, self.base)

    @property
    def surveys(self) -> int:
        return 2 if self.density < 1.0 and self.scale != 0.0 else 0

    def survey(self, tensor: TensorInfo, blocks: Iterable[Block]) -> Thresholds:
        """The smallest magnitude that each task vector keeps."""
        if self.surveys == 0 or tensor.size == 0:
            return dict.fromkeys(self.weights, np.float32(0.0))
        return thresholds(blocks, self.base, self.weights, kept(self.density, tensor.size))

    def combine(self, block: Block, survey: Thresholds) -> Values:
        base = block.read(self.base, BASE_ROOM)
        if self.scale == 0.0:
            return base
        scratch = block.room(FREE_ROOM)  # the election's too, between two vectors
        vectors = task_vectors(block, base, self.weights)
        trimmed = ((trim(vector, survey[member], scratch), weight) for member, vector, weight in vectors)
        return moved(base, elect(trimmed, self.election, block, FREE_ROOM, mean=True), self.scale)
