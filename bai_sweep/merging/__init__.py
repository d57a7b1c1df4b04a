"""Checkpoints to an initial actor, or to a model folder: Balanced Actor Initialization in one pass, and its kin.

`initialise` merges straight into a live model; `open_members`, `plan_merge`, `method_of` and `write_model` merge from
files to files, without torch. torch is imported with `initialise` only.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bai_sweep.merging._plan import MergePlan, plan_merge
from bai_sweep.merging._types import Member, Method
from bai_sweep.merging.inputs import open_members
from bai_sweep.merging.methods import method_of, recipe_of
from bai_sweep.merging.output import save_model, write_model

if TYPE_CHECKING:
    from bai_sweep.merging.live import InitialActor, Stage1, check, initialise, release

__all__ = [
    "InitialActor",
    "Member",
    "MergePlan",
    "Method",
    "Stage1",
    "check",
    "initialise",
    "method_of",
    "open_members",
    "plan_merge",
    "recipe_of",
    "release",
    "save_model",
    "write_model",
]

_LIVE = ("InitialActor", "Stage1", "check", "initialise", "release")


def __getattr__(name: str) -> object:
    if name in _LIVE:
        from bai_sweep.merging import live

        return getattr(live, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
