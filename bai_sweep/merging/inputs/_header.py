"""What a safetensors file says of itself, and whether that can be true.

The format: eight bytes of the header's length (little endian), the header as JSON, then the tensors' bytes. A header
is a claim by whoever wrote the file: nothing in it is used before it has been compared with the file's size.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any, BinaryIO, TypeGuard

from bai_sweep.merging._types import Dtype, TensorSpec
from bai_sweep.records import UserError

# the limit of the format's own reader; a model of 100,000 tensors needs a tenth of it
_LONGEST = 100_000_000
_LENGTH = 8
_METADATA = "__metadata__"
# what git checks out in place of a large file that it has not fetched
_POINTER = b"version "
FLOATS: tuple[Dtype, ...] = ("F64", "F32", "F16", "BF16")
BITS: Mapping[str, int] = {
    **{"F64": 64, "F32": 32, "F16": 16, "BF16": 16},
    **{"I64": 64, "I32": 32, "I16": 16, "I8": 8, "U64": 64, "U32": 32, "U16": 16, "U8": 8, "BOOL": 8, "C64": 64},
    **{"F8_E4M3": 8, "F8_E5M2": 8, "F8_E4M3FNUZ": 8, "F8_E5M2FNUZ": 8, "F8_E8M0": 8},
    **{"F6_E2M3": 6, "F6_E3M2": 6, "F4": 4},
}


@dataclass(frozen=True)
class Stored:
    """A tensor in a file.

    Args:
        spec: Shape and dtype.
        file: The file.
        offset: Its first byte in the file.
        nbytes: How many bytes it has.
    """

    spec: TensorSpec
    file: Path
    offset: int
    nbytes: int


def read_header(file: Path) -> dict[str, Stored]:
    """The tensors of a file, in the order of their bytes.

    Raises:
        UserError: The file cannot be read, or its header contradicts itself or the file.
    """
    try:
        if not file.is_file():
            raise UserError(f"{file}: a checkpoint is made of files; this is none; fetch it again")
        size = file.stat().st_size
        with file.open("rb") as stream:
            text = _header_text(stream, size)
        return _tensors(file, _parsed(text), size - _LENGTH - len(text), size)
    except OSError as error:
        raise UserError(f"{file}: cannot be read ({error.strerror or error}); check its permissions") from error
    except (ValueError, RecursionError) as error:
        raise UserError(
            f"{file}: this is no whole safetensors file: {error}; it was damaged or not written to its end: "
            "fetch it again"
        ) from error


def _header_text(stream: BinaryIO, size: int) -> bytes:
    if size < _LENGTH:
        raise ValueError(f"it begins with eight bytes of length and has {size}")
    first = stream.read(_LENGTH)
    if first == _POINTER:
        raise ValueError("it is git's pointer to one; `git lfs pull` fetches what it points to")
    length = int.from_bytes(first, "little")
    if length > _LONGEST:
        raise ValueError(f"its header would be {length} bytes long, and {_LONGEST} are the most")
    if length > size - _LENGTH:
        raise ValueError(f"its header would be {length} bytes long, and {size - _LENGTH} bytes follow")
    text = stream.read(length)
    if len(text) < length:
        raise ValueError(f"its header ends after {len(text)} of {length} bytes")
    return text


def _parsed(text: bytes) -> dict[str, Any]:
    if not text.startswith(b"{"):
        raise ValueError("its header is no JSON object")
    header = json.loads(text.decode("utf-8"), object_pairs_hook=_without_doubles)
    if not isinstance(header, dict) or not isinstance(header.pop(_METADATA, {}), dict):
        raise ValueError("its header is no JSON object of tensors")
    return header


def _without_doubles(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"its header has {next(n for n in names if names.count(n) > 1)!r} twice")
    return found


def _tensors(file: Path, header: Mapping[str, Any], data: int, size: int) -> dict[str, Stored]:
    found = {name: _stored(file, name, entry, size - data) for name, entry in header.items()}
    # an empty tensor begins where the next one does
    ordered = dict(sorted(found.items(), key=lambda item: (item[1].offset, item[1].nbytes)))
    end = size - data
    for name, tensor in ordered.items():
        if tensor.offset != end:
            raise ValueError(f"{name} begins at byte {tensor.offset}, and what stands before it ends at {end}")
        end += tensor.nbytes
    if end != size:
        raise ValueError(f"its tensors end at byte {end}, and the file at {size}")
    return ordered


def _stored(file: Path, name: str, entry: object, start: int) -> Stored:
    if not isinstance(entry, dict):
        raise ValueError(f"{name} has no dtype, shape and offsets")
    dtype, shape, offsets = entry.get("dtype"), entry.get("shape"), entry.get("data_offsets")
    if not isinstance(dtype, str) or dtype not in BITS:
        raise ValueError(f"{name} has the dtype {str(dtype)[:50]!r}, and {', '.join(BITS)} are known")
    if not _counts(shape):
        raise ValueError(f"{name} has the shape {str(shape)[:50]}")
    if not _counts(offsets) or len(offsets) != 2 or offsets[0] > offsets[1]:
        raise ValueError(f"{name} has the offsets {str(offsets)[:50]}")
    nbytes = offsets[1] - offsets[0]
    if prod(shape) * BITS[dtype] != nbytes * 8:
        raise ValueError(f"{name} is {dtype} of shape {shape}, and has {nbytes} bytes")
    return Stored(TensorSpec(tuple(shape), dtype), file, start + offsets[0], nbytes)


def _counts(value: object) -> TypeGuard[list[int]]:
    return isinstance(value, list) and all(type(n) is int and n >= 0 for n in value)
