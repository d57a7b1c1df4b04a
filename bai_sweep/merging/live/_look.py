"""How a live actor lies to the models that it was merged from, from a sample of its weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from bai_sweep.merging._dtypes import widen
from bai_sweep.merging._types import TensorInfo, Values
from bai_sweep.merging.geometry import RUN, Geometry
from bai_sweep.merging.geometry._runs import Runs
from bai_sweep.merging.live._opened import Opened
from bai_sweep.merging.live._sink import Target


@dataclass(frozen=True)
class _Run:
    """A block of the merge that is only looked at."""

    tensor: TensorInfo
    start: int
    size: int

    def read(self, member: str, room: int = 0) -> Values:
        raise NotImplementedError("a run is seen with its values")

    def room(self, number: int) -> Values:
        raise NotImplementedError("a run is seen with its values")


def look(merge: Opened, targets: Mapping[str, Target]) -> dict[str, Any]:
    """The geometry of a finished merge as its memory has it: rounded to the actor's dtype.

    Of a tensor 1/64 to 1/32 is read, at fixed places, so that it costs a small part of the merge itself.

    Args:
        merge: open.
        targets: what it was written to.

    Returns:
        The summary that docs/merging.md explains.
    """
    geometry = Geometry(merge.plan.tensors, merge.plan.values, merge.read, sample=True)
    values = np.empty(RUN, np.float32)
    for tensor in merge.plan.tensors:
        target, runs = targets[tensor.name], Runs.of(tensor.size, sample=True)
        for index in range(runs.count):
            start, size = runs.start(index), runs.stop(index) - runs.start(index)
            widen(target.memory[start : start + size], target.dtype, values[:size])
            geometry.see(_Run(tensor, start, size), values[:size])
    return geometry.summary()
