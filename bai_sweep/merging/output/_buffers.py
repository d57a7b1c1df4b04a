"""Tensors that are no weights (masks, position numbers): copied, not merged. A plan has only such that agree."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bai_sweep.merging._types import Member, TensorSpec
from bai_sweep.merging.compatibility import FLOATING, computed

if TYPE_CHECKING:
    from bai_sweep.merging._plan import MergePlan


def copied(plan: MergePlan) -> dict[str, TensorSpec]:
    """The integer and boolean tensors that the result has from `origin`, but those that a model computes."""
    specs = origin(plan).tensors.specs
    return {n: spec for n, spec in specs.items() if spec.dtype not in FLOATING and not computed(n, spec)}


def origin(plan: MergePlan) -> Member:
    """The member that is copied from: the tokenizer's model, or the first where that is not read."""
    members = plan.members
    return members.get(plan.vocabulary.tokenizer) or next(iter(members.values()))
