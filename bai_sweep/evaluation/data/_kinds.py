"""Kinds of columns, and what is wrong with a row."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from bai_sweep.evaluation.data._types import Column, Kind, Row

_DATE = re.compile(r"\d{4}-\d{2}-\d{2}")
_SHOWN = 60  # characters of a value in a message


def _texts(value: Any, least: int, most: int) -> bool:
    return isinstance(value, list) and least <= len(value) <= most and all(isinstance(item, str) for item in value)


def _whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


TEXT = Kind("text", lambda value: isinstance(value, str))
FILLED = Kind("text that is not empty", lambda value: isinstance(value, str) and bool(value.strip()))
MAYBE_TEXT = Kind("text or null", lambda value: value is None or isinstance(value, str))
WHOLE = Kind("a whole number", _whole)
MAYBE_WHOLE = Kind("a whole number or null", lambda value: value is None or _whole(value))
NUMBER = Kind("a number", lambda value: isinstance(value, (int, float)) and not isinstance(value, bool))
FLAG = Kind("true or false", lambda value: isinstance(value, bool))
LIST = Kind("a list", lambda value: isinstance(value, list))
FILLED_LIST = Kind("a list that is not empty", lambda value: isinstance(value, list) and bool(value))
OBJECT = Kind("an object", lambda value: isinstance(value, dict))
DATE = Kind("a date YYYY-MM-DD", lambda value: isinstance(value, str) and bool(_DATE.fullmatch(value)))
MAYBE_DATE = Kind(
    "a date YYYY-MM-DD or empty",
    lambda value: value == "" or (isinstance(value, str) and bool(_DATE.fullmatch(value))),
)


def texts(least: int, most: int) -> Kind:
    """A list of `least` to `most` texts."""
    count = str(least) if least == most else f"{least} to {most}"
    return Kind(f"a list of {count} texts", lambda value: _texts(value, least, most))


def fault_of_columns(row: Row, columns: Sequence[Column]) -> str | None:
    """The first column that is missing or holds another kind of value; None if there is none."""
    for column in columns:
        if column.name not in row:
            if not column.optional:
                return f"column {column.name} is missing"
        elif not column.kind.holds(row[column.name]):
            return f"column {column.name} is {column.kind.name}; got {shown(row[column.name])}"
    return None


def shown(value: Any) -> str:
    """A value for a message, with its type where that is the matter."""
    text = repr(value)
    return f"{text if len(text) <= _SHOWN else text[:_SHOWN] + '...'} ({type(value).__name__})"
