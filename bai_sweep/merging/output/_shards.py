"""Where each tensor of a result stands: in which file, from which byte on. Planned before anything is merged."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import prod

from bai_sweep.merging._types import TensorSpec

SIZES = {
    "F64": 8,
    "F32": 4,
    "F16": 2,
    "BF16": 2,
    "I64": 8,
    "U64": 8,
    "I32": 4,
    "U32": 4,
    "I16": 2,
    "U16": 2,
} | dict.fromkeys(("I8", "U8", "BOOL"), 1)
INDEX = "model.safetensors.index.json"


@dataclass(frozen=True)
class Place:
    """Where a tensor's first byte is, and how many it has."""

    file: str
    offset: int
    size: int


@dataclass(frozen=True)
class Shard:
    """One safetensors file: its name, its head (the length, the JSON, padding), its size in bytes."""

    file: str
    head: bytes
    size: int


@dataclass(frozen=True)
class Layout:
    """All files of a result."""

    shards: tuple[Shard, ...]
    places: Mapping[str, Place]

    @property
    def size(self) -> int:
        """Bytes of all files together."""
        return sum(shard.size for shard in self.shards)

    def index(self) -> str | None:
        """The JSON that names each tensor's file; None if there is one file only."""
        if len(self.shards) == 1:
            return None
        total = sum(place.size for place in self.places.values())
        files = {name: place.file for name, place in sorted(self.places.items())}
        return json.dumps({"metadata": {"total_size": total}, "weight_map": files}, indent=2) + "\n"


def plan_shards(specs: Mapping[str, TensorSpec], max_shard_bytes: int) -> Layout:
    """Fills one file after the other in the order of `specs`; a tensor is never split, however large.

    Args:
        specs: Of every tensor, as it will be stored.
        max_shard_bytes: Of a file's tensors; one that is larger has a file of its own.
    """
    groups = _grouped(specs, max_shard_bytes)
    width = max(5, len(str(len(groups))))
    shards: list[Shard] = []
    places: dict[str, Place] = {}
    for number, group in enumerate(groups, start=1):
        many = f"-{number:0{width}d}-of-{len(groups):0{width}d}" if len(groups) > 1 else ""
        shard, inside = _shard(f"model{many}.safetensors", {name: specs[name] for name in group})
        shards.append(shard)
        places |= inside
    return Layout(tuple(shards), places)


def bytes_of(spec: TensorSpec) -> int:
    """A tensor's bytes as stored."""
    return prod(spec.shape) * SIZES[spec.dtype]


def _grouped(specs: Mapping[str, TensorSpec], max_shard_bytes: int) -> Sequence[Sequence[str]]:
    groups: list[list[str]] = [[]]
    filled = 0
    for name, spec in specs.items():
        size = bytes_of(spec)
        if groups[-1] and filled + size > max_shard_bytes:
            groups.append([])
            filled = 0
        groups[-1].append(name)
        filled += size
    return groups


def _shard(file: str, specs: Mapping[str, TensorSpec]) -> tuple[Shard, dict[str, Place]]:
    # wide elements first, so that every tensor begins at a multiple of its element's size
    names: Iterable[str] = sorted(specs, key=lambda name: -SIZES[specs[name].dtype])
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    offset, inside = 0, {}
    for name in names:
        size = bytes_of(specs[name])
        header[name] = {
            "dtype": specs[name].dtype,
            "shape": list(specs[name].shape),
            "data_offsets": [offset, offset + size],
        }
        inside[name] = (offset, size)
        offset += size
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    head = len(text).to_bytes(8, "little") + text
    places = {name: Place(file, len(head) + start, size) for name, (start, size) in inside.items()}
    return Shard(file, head, len(head) + offset), places
