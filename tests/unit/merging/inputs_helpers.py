"""safetensors files written by hand, and values read whole."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from bai_sweep.merging._types import Tensors

SIZES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8, "U8": 1, "BOOL": 1, "I8": 1, "F8_E4M3": 1}


def header_of(tensors: Mapping[str, tuple[str, list[int], bytes]]) -> dict[str, dict[str, object]]:
    """The header of tensors stored one after the other."""
    header: dict[str, dict[str, object]] = {}
    position = 0
    for name, (dtype, shape, data) in tensors.items():
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [position, position + len(data)]}
        position += len(data)
    return header


def packed(header: object, data: bytes) -> bytes:
    """A file's bytes."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data


def write(path: Path, tensors: Mapping[str, tuple[str, list[int], bytes]]) -> Path:
    """A file that is as it should be."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(packed(header_of(tensors), b"".join(data for _, _, data in tensors.values())))
    return path


def stored_bytes(values: np.ndarray, dtype: str) -> tuple[str, list[int], bytes]:
    """Values as a file has them; bfloat16 cut off, so that the values are those of the upper half."""
    if dtype == "BF16":
        data = (values.astype("<f4").view("<u4") >> 16).astype("<u2").tobytes()
    else:
        data = values.astype({"F64": "<f8", "F32": "<f4", "F16": "<f2"}[dtype]).tobytes()
    return dtype, list(values.shape), data


def exact(entry: tuple[str, list[int], bytes]) -> np.ndarray:
    """What stored bytes mean, in float64."""
    dtype, shape, data = entry
    if dtype == "BF16":
        wide = np.frombuffer(data, "<u2").astype("<u4") << 16
        return wide.view("<f4").astype(np.float64).reshape(shape)
    return np.frombuffer(data, {"F64": "<f8", "F32": "<f4", "F16": "<f2"}[dtype]).astype(np.float64).reshape(shape)


def values_of(tensors: Tensors, name: str) -> np.ndarray:
    """A whole tensor."""
    values = np.empty(tensors.specs[name].size, np.float32)
    tensors.read(name, 0, values)
    return values.reshape(tensors.specs[name].shape)
