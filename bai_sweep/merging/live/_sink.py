"""Merged values into the memory of tensors."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bai_sweep.merging._dtypes import narrow
from bai_sweep.merging._types import Dtype, TensorInfo, Values
from bai_sweep.records import UserError


@dataclass(frozen=True)
class Target:
    """A tensor's memory, flat, in the storage of its dtype."""

    memory: NDArray[Any]
    dtype: Dtype


class LiveSink:
    """Rounds values into targets."""

    def __init__(self, targets: Mapping[str, Target]) -> None:
        self._targets = targets

    def write(self, name: str, start: int, values: Values) -> None:
        """Stores the values from element `start` on.

        Raises:
            UserError: A value is beyond the target's dtype.
        """
        target = self._targets[name]
        if not narrow(values, target.dtype, target.memory[start : start + values.size]):
            raise too_large(name, target.dtype)


def too_large(name: str, dtype: Dtype) -> UserError:
    """What to say where a merge is beyond the live model's dtype."""
    return UserError(
        f"{name}: the merge has values that are too large for the dtype of the live model, {dtype}; "
        "set model.dtype to bfloat16 or float32"
    )


class HeldSink:
    """float32 values into one file, tensor after tensor."""

    def __init__(self, descriptor: int, offsets: Mapping[str, int]) -> None:
        self._descriptor = descriptor
        self._offsets = offsets

    def write(self, name: str, start: int, values: Values) -> None:
        """Stores the values.

        Raises:
            OSError: There is no room.
        """
        data = values.view(np.uint8).data
        position = 4 * (self._offsets[name] + start)
        while data:
            done = os.pwrite(self._descriptor, data, position)
            data, position = data[done:], position + done


def offsets_of(tensors: tuple[TensorInfo, ...]) -> dict[str, int]:
    """Where each tensor begins in a file that holds all of them, in elements; each at a cache line."""
    offsets: dict[str, int] = {}
    end = 0
    for tensor in tensors:
        offsets[tensor.name] = end
        end += -(-tensor.size // 16) * 16
    return offsets
