"""A table of strings, and how figures become strings: one form for terminal, HTML and Markdown."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

ABSENT = "-"


@dataclass(frozen=True)
class Table:
    """Cells ready to be shown; `best` holds the (row, column) of those in bold, `note` says what is missing."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    best: frozenset[tuple[int, int]] = frozenset()
    note: str = ""


def number(value: float, digits: int = 1) -> str:
    """A figure, or a dash for NaN."""
    return ABSENT if math.isnan(value) else f"{value:.{digits}f}"


def with_error(value: float, error: float) -> str:
    """`55.2 ± 1.1`, without the error if it is not known."""
    return number(value) if math.isnan(error) or math.isnan(value) else f"{value:.1f} ± {error:.1f}"


def probability(value: float) -> str:
    """Two digits, and no claim of certainty from a finite number of resamples."""
    if value > 0.995:
        return "> 0.99"
    return f"{value:.2f}" if value >= 0.005 else "< 0.01"


def plain(value: object) -> str:
    """A swept value as people write it."""
    if isinstance(value, dict):
        return ", ".join(f"{key} {plain(item)}" for key, item in value.items())
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def best_cells(values: Sequence[Sequence[float]], axis: str) -> frozenset[tuple[int, int]]:
    """Where the largest figures stand: of each `row` or each `column`; a tie marks all, NaN never.

    Returned columns are shifted by one, for the column of names that stands before the figures.
    """
    lines = values if axis == "row" else list(zip(*values, strict=True))
    found = set()
    for line_number, line in enumerate(lines):
        finite = [value for value in line if math.isfinite(value)]
        if len(finite) < 2:  # the best of one says nothing
            continue
        for k, value in enumerate(line):
            if value == max(finite):
                found.add((line_number, k + 1) if axis == "row" else (k, line_number + 1))
    return frozenset(found)
