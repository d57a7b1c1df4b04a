"""Checkpoints to an initial actor, or to a model folder: Balanced Actor Initialization in one pass, and its kin.

`initialise` merges straight into a live model, `write_actor` makes the folder of the same merge; `open_members`,
`plan_merge`, `method_of` and `write_model` merge from files to files, without torch. A name is imported when it is
first asked for, torch with a trial's actor only.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bai_sweep.merging._plan import MergePlan, plan_merge
    from bai_sweep.merging._types import Member, Method
    from bai_sweep.merging.inputs import open_members
    from bai_sweep.merging.live import (
        InitialActor,
        Stage1,
        check,
        digest_of,
        identified,
        initialise,
        inputs_of,
        release,
        write_actor,
    )
    from bai_sweep.merging.methods import method_of, recipe_of
    from bai_sweep.merging.output import Provenance, save_model, write_model

__all__ = [
    "InitialActor",
    "Member",
    "MergePlan",
    "Method",
    "Provenance",
    "Stage1",
    "check",
    "digest_of",
    "identified",
    "initialise",
    "inputs_of",
    "method_of",
    "open_members",
    "plan_merge",
    "recipe_of",
    "release",
    "save_model",
    "write_actor",
    "write_model",
]

_HOMES = {
    "_plan": ("MergePlan", "plan_merge"),
    "_types": ("Member", "Method"),
    "inputs": ("open_members",),
    "live": (
        "InitialActor",
        "Stage1",
        "check",
        "digest_of",
        "identified",
        "initialise",
        "inputs_of",
        "release",
        "write_actor",
    ),
    "methods": ("method_of", "recipe_of"),
    "output": ("Provenance", "save_model", "write_model"),
}


def __getattr__(name: str) -> object:
    home = next((home for home, names in _HOMES.items() if name in names), None)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{home}"), name)
