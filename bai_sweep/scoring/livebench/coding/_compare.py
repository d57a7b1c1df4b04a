"""Whether what a program printed or returned is what a test expects.

Source: LiveBench/LiveBench, `livebench/lcb_runner/evaluation/testing_util.py`, `grade_stdio` and `grade_call_based`.
"""

from __future__ import annotations

import json
from decimal import Decimal, InvalidOperation

from bai_sweep.records import UserError


def same_value(value: object, expected: str) -> bool:
    """Equality of plain values read from JSON, exact for floats, with `True == 1` as Python has it.

    Raises:
        UserError: The test expects what is no JSON.
    """
    try:
        wanted = json.loads(expected)
    except ValueError as error:
        raise UserError(f"a test of a function expects JSON; got {expected[:100]!r}; mend the question") from error
    return bool(value == wanted)


def same_print(printed: str, expected: str) -> bool:
    """Equality of all lines without surrounding blanks; a line that differs may hold the same decimal numbers."""
    ours, theirs = _lines(printed), _lines(expected)
    return len(ours) == len(theirs) and all(map(_same_line, ours, theirs))


def _lines(text: str) -> list[str]:
    return [line.strip() for line in text.strip().split("\n")]


def _same_line(ours: str, theirs: str) -> bool:
    if ours == theirs:
        return True
    try:
        return [Decimal(word) for word in ours.split()] == [Decimal(word) for word in theirs.split()]
    except InvalidOperation:
        return False
