"""Merges into the memory of a live model, and what a worker keeps for its next alpha.

`check` says whether an actor can be merged, `initialise` makes it; `Stage1` is a stage 1 that the processes of a
machine share, `release` lets it go. torch is imported with `initialise` only.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bai_sweep.merging.live._check import check
from bai_sweep.merging.live._process import release
from bai_sweep.merging.live._stage1 import Stage1

if TYPE_CHECKING:
    from bai_sweep.merging.live._initialise import InitialActor, initialise

__all__ = ["InitialActor", "Stage1", "check", "initialise", "release"]


def __getattr__(name: str) -> object:
    if name in ("InitialActor", "initialise"):
        from bai_sweep.merging.live import _initialise

        return getattr(_initialise, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
