"""DARE: drop values of task vectors at random and scale up the rest (Yu et al. 2024, arXiv 2311.03099)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from hashlib import blake2b
from typing import Literal, final

import numpy as np
from numpy.typing import NDArray

from bai_sweep.merging._types import Block, Method, Values
from bai_sweep.merging.methods._arithmetic import stage_one
from bai_sweep.merging.methods._election import elect
from bai_sweep.merging.methods._task_vectors import BASE_ROOM, FREE_ROOM, members_read, moved, task_vectors

_PER_COUNT = 8
"""Elements that one count of the generator decides: Philox 4x64 gives 256 bits, and an element takes 32."""


@final
@dataclass(frozen=True)
class Dare(Method):
    """`base + scale * sum_i w_i * mask_i * (sft_i - base) / density`, the sum of all or of those of an elected sign.

    With an election it stays a sum: a mean over the values that happen to be kept would make up for the dropped ones
    a second time.

    Args:
        weights: Of the SFT models, above 0.
        scale: Of the merged task vector.
        density: The probability that a value is kept.
        election: How a sign wins, see `elect`; `none`: every value counts.
        seed: Of the masks.
        base: The base's name.
    """

    weights: Mapping[str, float]
    scale: float
    density: float
    election: Literal["weight", "count", "none"]
    seed: int
    base: str = "base"

    @property
    def members(self) -> tuple[str, ...]:
        return members_read(self.weights, self.scale, self.base)

    def combine(self, block: Block, survey: None) -> Values:
        del survey
        base = block.read(self.base, BASE_ROOM)
        if self.scale == 0.0:
            return base
        vectors = self._dropped(block, base)
        if self.election == "none":
            direction = stage_one(vectors, block.room(FREE_ROOM))
        else:
            direction = elect(vectors, self.election, block, FREE_ROOM, mean=False)
        # 1 / density is common to all vectors, so that it is multiplied once, with the scale
        return moved(base, direction, self.scale / self.density)

    def _dropped(self, block: Block, base: Values) -> Iterator[tuple[Values, float]]:
        for member, vector, weight in task_vectors(block, base, self.weights):
            if self.density < 1.0:
                key = f"{self.seed}\0{member}\0{block.tensor.name}"
                np.multiply(vector, kept(key, self.density, block.start, block.size), out=vector)
            yield vector, weight


def kept(key: str, density: float, start: int, size: int) -> NDArray[np.bool_]:
    """Which of `size` elements from `start` on are kept, each with probability `density`.

    Element `e` of the stream that the key names (by its BLAKE2b) takes the 32 bits at place `e` of Philox's output, a
    generator that can be started at any count: a mask does not depend on how a tensor is cut into blocks.
    """
    digest = int.from_bytes(blake2b(key.encode(), digest_size=16).digest(), "little")
    count, lead = divmod(start, _PER_COUNT)
    raw = np.random.Philox(key=digest, counter=count).random_raw((lead + size + 1) // 2)
    bits = raw.astype("<u8", copy=False).view("<u4")[lead : lead + size]
    share = min(max(round(density * 2**32), 1), 2**32)  # of the 2**32 values that 32 bits have
    chosen: NDArray[np.bool_] = np.less_equal(bits, np.uint32(share - 1))
    return chosen
