"""Checkpoints to an initial actor, or to a model folder: Balanced Actor Initialization in one pass, and its kin.

`initialise` merges straight into a live model; `open_members`, `plan_merge`, `method_of` and `write_model` merge from
files to files, without torch. A name is imported when it is first asked for, torch with `initialise` only.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bai_sweep.merging._plan import MergePlan, plan_merge
    from bai_sweep.merging._types import Member, Method
    from bai_sweep.merging.inputs import open_members
    from bai_sweep.merging.live import InitialActor, Stage1, check, initialise, release
    from bai_sweep.merging.methods import method_of, recipe_of
    from bai_sweep.merging.output import save_model, write_model

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

_HOMES = {
    "_plan": ("MergePlan", "plan_merge"),
    "_types": ("Member", "Method"),
    "inputs": ("open_members",),
    "live": ("InitialActor", "Stage1", "check", "initialise", "release"),
    "methods": ("method_of", "recipe_of"),
    "output": ("save_model", "write_model"),
}


def __getattr__(name: str) -> object:
    home = next((home for home, names in _HOMES.items() if name in names), None)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{home}"), name)
