"""A number and where it comes from."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Figure:
    """A number of a plan.

    Args:
        value: None where it is not known.
        source: Where it comes from, or why it is not known.
    """

    value: float | None
    source: str
