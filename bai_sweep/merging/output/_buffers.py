"""Tensors that are no weights (masks, position numbers): copied, not merged."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path

from bai_sweep.merging._types import Member, TensorSpec
from bai_sweep.merging.compatibility import computed
from bai_sweep.merging.inputs._header import FLOATS, Stored, read_header
from bai_sweep.records import UserError

Buffer = tuple[TensorSpec, bytes]


def buffers(members: Mapping[str, Member], tokenizer: str, merged: Collection[str]) -> dict[str, Buffer]:
    """Every member's integer and boolean tensors but those that a model computes, from the tokenizer's model.

    Args:
        tokenizer: The model whose files are copied from; the first where it is not read.
        merged: The tensors of the merge.

    Raises:
        UserError: Two members that have a tensor differ in it.
    """
    first = tokenizer if tokenizer in members else next(iter(members))
    found = {name: _read(stored) for name, stored in _stored(members[first], merged).items()}
    for member in members.values():
        for name, stored in _stored(member, merged).items():
            if name in found and _read(stored) != found[name]:
                raise UserError(
                    f"{name} is {stored.spec.dtype}, which is copied and not merged, and differs between {first} and "
                    f"{member.name}: remove it from the checkpoints if the model computes it, or leave one model out"
                )
    return found


def _stored(member: Member, merged: Collection[str]) -> dict[str, Stored]:
    names = {
        name
        for name, spec in member.tensors.specs.items()
        if name not in merged and spec.dtype not in FLOATS and not computed(name, spec)
    }
    if not names:
        return {}
    return {name: stored for file in member.files for name, stored in read_header(Path(file)).items() if name in names}


def _read(stored: Stored) -> Buffer:
    with stored.file.open("rb") as file:
        file.seek(stored.offset)
        return stored.spec, file.read(stored.nbytes)
