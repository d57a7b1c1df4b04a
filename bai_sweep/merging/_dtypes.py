"""What files store, as float32 and back: widening is exact, narrowing rounds once, to nearest even.

numpy has no bfloat16; it is held as uint16, the upper half of a float32's bits, and rounded with integers.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bai_sweep.merging._types import BLOCK, Dtype, Values

DTYPES: Mapping[str, Dtype] = MappingProxyType({"float32": "F32", "bfloat16": "BF16", "float16": "F16"})
"""safetensors' names of the dtypes that a merge can be written in, by their names in the configuration."""

_STORAGE: Mapping[Dtype, np.dtype[Any]] = {
    "F64": np.dtype("<f8"),
    "F32": np.dtype("<f4"),
    "F16": np.dtype("<f2"),
    "BF16": np.dtype("<u2"),
}

ENDS: Mapping[Dtype, float] = {"F64": np.inf, "F32": np.inf, "F16": 65520.0, "BF16": float.fromhex("0x1.ffp127")}
"""The smallest magnitude that rounds to infinity: half a unit above the greatest finite one."""


class _Scratch(threading.local):
    """Room for a thread's rounding, kept from block to block: a fresh one each time costs page faults."""

    def __init__(self) -> None:
        self._bits = np.empty(0, np.uint32)

    def of(self, size: int) -> NDArray[np.uint32]:
        if self._bits.size < size:
            self._bits = np.empty(size, np.uint32)
        return self._bits[:size]


_scratch = _Scratch()


def storage(dtype: Dtype) -> np.dtype[Any]:
    """How a file's elements are held in numpy; BF16 as its bits, uint16."""
    return _STORAGE[dtype]


def widen(stored: NDArray[Any], dtype: Dtype, into: Values) -> None:
    """Fills `into` with what is stored: exactly, but for F64, which is rounded to float32.

    Args:
        stored: Elements in `storage(dtype)`; they may not overlap `into`.
        dtype: What they are.
        into: As many elements.
    """
    if dtype == "BF16":
        bits = into.view(np.uint32)
        np.copyto(bits, stored)
        np.left_shift(bits, 16, out=bits)
    elif dtype == "F64":
        with np.errstate(over="ignore", under="ignore", invalid="ignore"):
            np.copyto(into, stored, casting="same_kind")
    else:
        np.copyto(into, stored)


def narrow(values: Values, dtype: Dtype, into: NDArray[Any]) -> bool:
    """Fills `into` with the values, each rounded to nearest even; too large ones become infinite, NaN stays NaN.

    Args:
        values: float32; they are not changed.
        dtype: What to round to; F64 and F32 hold every float32.
        into: As many elements, in `storage(dtype)`.

    Returns:
        Whether every element of `into` is finite.
    """
    finite = _within(values, ENDS[dtype])
    if dtype == "BF16":
        for start in range(0, values.size, BLOCK):  # the scratch stays small, however many there are
            _narrow_to_bfloat16(values[start : start + BLOCK], into[start : start + BLOCK], finite)
    elif dtype == "F16":
        with np.errstate(over="ignore", under="ignore", invalid="ignore"):
            np.copyto(into, values, casting="same_kind")
    else:
        np.copyto(into, values)
    return finite


def first_nonfinite(values: Values) -> int | None:
    """The index of the first value that is infinite or NaN; None if there is none, which two cheap passes tell."""
    return None if _within(values, np.inf) else int(np.flatnonzero(~np.isfinite(values))[0])


def _within(values: Values, end: float) -> bool:
    """Whether every magnitude is below the end; no comparison with a NaN holds, and it is least and greatest."""
    return not values.size or bool(np.minimum.reduce(values) > -end and np.maximum.reduce(values) < end)


def _narrow_to_bfloat16(values: Values, into: NDArray[np.uint16], finite: bool) -> None:
    """Adds half a unit, a little less where the kept part is even, and drops the lower half of the bits."""
    bits = values.view(np.uint32)
    rounded = _scratch.of(bits.size)
    np.right_shift(bits, 16, out=rounded)
    np.bitwise_and(rounded, 1, out=rounded)
    np.add(rounded, 0x7FFF, out=rounded)
    np.add(rounded, bits, out=rounded)
    np.right_shift(rounded, 16, out=into, dtype=np.uint32, casting="unsafe")  # shifted and cut in one call
    if not finite:  # the sum may have carried a NaN's bits into infinity or zero
        wrong = np.isnan(values)
        into[wrong] = (bits[wrong] >> 16).astype(np.uint16) | 0x0040
