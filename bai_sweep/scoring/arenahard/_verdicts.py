"""What a judge's text says: a mark such as `[[A>>B]]`, who won by it and in how many battles."""

from __future__ import annotations

import re
from typing import Literal, NamedTuple

Winner = Literal["A", "B", "tie"]

# label -> (share of each battle that A won, battles): lmarena/arena-hard-auto, show_result.py, weight 3 for `>>`.
LABELS_V01 = {"A>>B": (1.0, 3), "A>B": (1.0, 1), "A=B": (0.5, 1), "B>A": (0.0, 1), "B>>A": (0.0, 3)}
LABELS_V2 = {
    **LABELS_V01,
    "A<<B": (0.0, 3),
    "A<B": (0.0, 1),
    "B=A": (0.5, 1),
    "B<A": (1.0, 1),
    "B<<A": (1.0, 3),
}

_DOUBLE = re.compile(r"\[\[([AB<>=]+)\]\]")
_SINGLE = re.compile(r"\[([AB<>=]+)\]")


class Reading(NamedTuple):
    """The verdict found, None for none; and whether the judge is to be asked to go on, as it gave no mark at all."""

    verdict: str | None
    again: bool


def read_v01(text: str) -> Reading:
    """v0.1's rule: the mark in double brackets, if there is one or all agree. Two that differ are no verdict.

    The official `get_score` (gen_judgment.py of v0.1). A mark that names no verdict (`[[A]]`) makes it no verdict: the
    official scores leave such a game out.
    """
    marks = set(_DOUBLE.findall(text))
    if len(marks) != 1:
        return Reading(None, again=not marks)
    (mark,) = marks
    return Reading(mark if mark in LABELS_V01 else None, again=False)


def read_v2(text: str) -> Reading:
    """v2's rule: the last mark in double brackets, else the last in single ones, in upper case.

    The official `get_score` (gen_judgment.py of v2). A mark that names no verdict is none; official code stops at it
    with a KeyError.
    """
    marks = _DOUBLE.findall(text.upper()) or _SINGLE.findall(text.upper())
    verdict = marks[-1] if marks else None
    return Reading(verdict if verdict in LABELS_V2 else None, again=not marks)


def winner_of(verdict: str) -> Winner:
    """Whom a verdict favours, by position."""
    won, _ = LABELS_V2[verdict]
    return "tie" if won == 0.5 else "A" if won == 1.0 else "B"
