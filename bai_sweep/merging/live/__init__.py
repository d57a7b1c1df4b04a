"""Merges into the memory of a live model, and what a worker keeps for its next alpha.

`check` says whether an actor can be merged, `initialise` makes it, `identified` notes what it can be known by, and
`write_actor` makes a folder of the same merge later; `Stage1` is a stage 1 that the processes of a machine share,
`release` lets it go. torch is imported with an actor only.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from bai_sweep.merging.live._check import check
from bai_sweep.merging.live._process import release
from bai_sweep.merging.live._stage1 import Stage1

if TYPE_CHECKING:
    from bai_sweep.merging.live._folder import write_actor
    from bai_sweep.merging.live._identity import digest_of, identified, inputs_of
    from bai_sweep.merging.live._initialise import InitialActor, initialise

__all__ = [
    "InitialActor",
    "Stage1",
    "check",
    "digest_of",
    "identified",
    "initialise",
    "inputs_of",
    "release",
    "write_actor",
]

_HOMES = {
    "_folder": ("write_actor",),
    "_identity": ("digest_of", "identified", "inputs_of"),
    "_initialise": ("InitialActor", "initialise"),
}


def __getattr__(name: str) -> object:
    home = next((home for home, names in _HOMES.items() if name in names), None)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{home}"), name)
