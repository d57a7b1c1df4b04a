"""`plan`: what a study will cost, before it begins."""

from __future__ import annotations

from collections.abc import Sequence

from bai_sweep.records import UserError


def plan(arguments: Sequence[str]) -> None:
    """Prints the plan of the study that `python -m bai_sweep -m <arguments>` would run."""
    raise UserError(f"not yet: {arguments}")
