"""Members and a sink in memory, for tests of the engine and of whatever uses it."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from bai_sweep.merging._types import Dtype, TensorInfo, TensorSpec, Values
from bai_sweep.records import UserError

Array = NDArray[Any] | torch.Tensor

_TORCH = {torch.float64: "F64", torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16"}
_NUMPY = {"float64": "F64", "float32": "F32", "float16": "F16"}
TO_TORCH: Mapping[Dtype, torch.dtype] = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}


class ArrayTensors:
    """A model's tensors held as arrays; `reads` lists (name, start, size) of every read."""

    def __init__(self, arrays: Mapping[str, Array]) -> None:
        self._flat: dict[str, Values] = {}
        self._specs: dict[str, TensorSpec] = {}
        self.reads: list[tuple[str, int, int]] = []
        for name, array in arrays.items():
            if isinstance(array, torch.Tensor):
                dtype, flat = _TORCH[array.dtype], array.detach().to(torch.float32).numpy()
            else:
                dtype, flat = _NUMPY[str(array.dtype)], array.astype(np.float32)
            self._flat[name] = flat.reshape(-1)
            self._specs[name] = TensorSpec(tuple(array.shape), dtype)

    @property
    def specs(self) -> Mapping[str, TensorSpec]:
        return self._specs

    def read(self, name: str, start: int, into: Values) -> None:
        flat = self._flat[name]
        if start + into.size > flat.size:
            raise UserError(f"{name}: elements {start} to {start + into.size} of {flat.size}")
        self.reads.append((name, start, into.size))
        into[:] = flat[start : start + into.size]


class ArraySink:
    """Merged values held as torch tensors of the output dtype; torch does the rounding.

    `writes` lists (name, start, size); writing an element twice, or reading the result before all are there, fails.
    """

    def __init__(self, tensors: Sequence[TensorInfo], dtype: Dtype = "F32") -> None:
        self._dtype = TO_TORCH[dtype]
        self._shapes = {tensor.name: tensor.shape for tensor in tensors}
        self._flat = {tensor.name: torch.zeros(tensor.size, dtype=self._dtype) for tensor in tensors}
        self._written = {tensor.name: np.zeros(tensor.size, np.bool_) for tensor in tensors}
        self._lock = threading.Lock()
        self.writes: list[tuple[str, int, int]] = []

    def write(self, name: str, start: int, values: Values) -> None:
        stop = start + values.size
        with self._lock:
            self.writes.append((name, start, values.size))
            assert not self._written[name][start:stop].any(), f"{name}: {start} to {stop} written twice"
            self._written[name][start:stop] = True
        rounded = torch.from_numpy(values.copy()).to(self._dtype)
        if not bool(torch.isfinite(rounded).all()):
            raise UserError(f"{name}: a value is not finite in {self._dtype}")
        self._flat[name][start:stop] = rounded

    def result(self) -> dict[str, torch.Tensor]:
        """The merged tensors, whole."""
        missing = [name for name, written in self._written.items() if not written.all()]
        assert not missing, f"not wholly written: {missing}"
        return {name: flat.reshape(self._shapes[name]) for name, flat in self._flat.items()}


def infos(shapes: Mapping[str, tuple[int, ...]]) -> tuple[TensorInfo, ...]:
    """Tensors of these shapes, outside the layers."""
    return tuple(TensorInfo(name, shape, "other", None) for name, shape in shapes.items())
