"""Whether the members have the same tensors."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise

from bai_sweep.merging._types import Member, StoredTensors, Tensors, TensorSpec
from bai_sweep.merging.compatibility._names import FLOATING, by_row, embedding_of
from bai_sweep.merging.compatibility._tying import copied_tensors


def tensor_faults(members: Mapping[str, Tensors]) -> list[str]:
    """Names and shapes that differ from the first member's, and what is not of a floating type."""
    (first, ours), *others = members.items()
    faults = []
    for name, tensors in others:
        faults += _names(first, ours.specs, name, tensors.specs)
    for name, tensors in others:
        faults += _shapes(first, ours.specs, name, tensors.specs)
    for name, tensors in members.items():
        faults += _rows(name, tensors.specs)
        faults += [
            f"{tensor}: stored as {spec.dtype} in {name}; only {', '.join(FLOATING)} are merged"
            for tensor, spec in tensors.specs.items()
            if spec.dtype not in FLOATING
        ]
    return faults


def copied_faults(members: Mapping[str, Member]) -> list[str]:
    """Tensors that are copied into the result, not merged, and are not the same in all members."""
    faults = []
    for tensor in sorted(copied_tensors(members)):
        having = {name: one.tensors for name, one in members.items() if tensor in one.tensors.specs}
        for (name, ours), (other, theirs) in pairwise(having.items()):
            if not _same(tensor, ours, theirs):
                kind = ours.specs[tensor].dtype
                faults.append(f"{tensor}: {kind}, which is copied and not merged, differs between {name} and {other}")
    return faults


def _same(tensor: str, ours: StoredTensors, theirs: StoredTensors) -> bool:
    return ours.specs[tensor] == theirs.specs[tensor] and ours.raw(tensor) == theirs.raw(tensor)


def rows_of(specs: Mapping[str, TensorSpec]) -> int | None:
    """How many rows a model's embedding has."""
    embedding = embedding_of(specs)
    return specs[embedding].shape[0] if embedding else None


def _names(first: str, ours: Mapping[str, TensorSpec], name: str, theirs: Mapping[str, TensorSpec]) -> list[str]:
    faults = [f"{tensor}: in {first}, not in {name}" for tensor in sorted(ours.keys() - theirs.keys())]
    return faults + [f"{tensor}: in {name}, not in {first}" for tensor in sorted(theirs.keys() - ours.keys())]


def _shapes(first: str, ours: Mapping[str, TensorSpec], name: str, theirs: Mapping[str, TensorSpec]) -> list[str]:
    faults = []
    for tensor in sorted(ours.keys() & theirs.keys()):
        shape, other = ours[tensor].shape, theirs[tensor].shape
        skipped = 1 if by_row(tensor) else 0
        if shape[skipped:] != other[skipped:] or len(shape) != len(other):
            faults.append(f"{tensor}: {list(shape)} in {first}, {list(other)} in {name}")
    return faults


def _rows(name: str, specs: Mapping[str, TensorSpec]) -> list[str]:
    rows = rows_of(specs)
    return [
        f"{tensor}: {list(spec.shape)} in {name}, whose embedding has {rows} rows"
        for tensor, spec in specs.items()
        if rows is not None and by_row(tensor) and spec.shape[:1] != (rows,)
    ]
