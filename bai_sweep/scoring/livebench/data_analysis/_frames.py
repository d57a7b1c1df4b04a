"""Tables as data frames: reading one in each of the six formats, and comparing two (tablereformat)."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Sequence
from io import StringIO
from typing import Any

import pandas as pd  # type: ignore[import-untyped]
from pandas.api.types import is_numeric_dtype  # type: ignore[import-untyped]

_log = logging.getLogger(__name__)

TOLERANCE = 1e-6
SEPARATORS = {"csv": ",", "tsv": "\t"}
_JSON: tuple[dict[str, Any], ...] = (
    {"orient": "index"},
    {"orient": "records", "lines": False},
    {"orient": "records", "lines": True},
    {"orient": "table"},
    {"orient": "values"},
)


def read(form: str, text: str) -> Any:
    """The data frame that a text is in json, jsonl, html, csv, markdown or tsv; None where it is none."""
    for options in _JSON if form == "json" else ({},):
        try:
            return _read(form, text, options)
        except Exception as error:  # noqa: BLE001 - pandas' readers and their parsers raise anything on any text
            _log.debug("not a table in %s: %s", form, error)
    return None


def _read(form: str, text: str, options: dict[str, Any]) -> Any:
    if form == "json":
        return pd.read_json(StringIO(text), **options)
    if form == "jsonl":
        return pd.read_json(StringIO(text), orient="records", lines=True)
    if form == "html":
        return pd.concat(pd.read_html(StringIO(text), flavor="lxml"), axis=0)
    if form == "markdown":
        return pd.read_table(StringIO(text), sep="|", header=0, index_col=1, skipinitialspace=True)
    return pd.read_csv(StringIO(text), sep=SEPARATORS[form])


def find_separated(text: str, columns: Sequence[Any], separator: str) -> Any:
    """The longest table that begins at the line with these columns, None without such a line."""
    header = separator.join(columns).strip()
    lines = text.strip().split("\n")
    start = next((index for index, line in enumerate(lines) if line.strip() == header), len(lines))
    for end in range(len(lines), start, -1):  # there may be text after the table
        table = read("csv" if separator == "," else "tsv", "\n".join(lines[start:end]))
        if table is not None:
            return table
    return None


def find_jsonl(text: str, columns: Sequence[Any]) -> Any:
    """The table of those lines that are JSON objects and name all columns, None without one."""
    rows = []
    for line in text.strip().split("\n"):
        if len(line) >= 2 and line[0] == "{" and line[-1] == "}" and all(column in line for column in columns):
            try:
                rows.append(json.loads(line))
            except (ValueError, RecursionError):
                continue
    return pd.DataFrame(rows) if rows else None


def equal(given: Any, expected: Any) -> bool:
    """Whether two tables have the same columns, in any order, and the same rows, in order.

    Numbers may differ by less than 1e-6; space around texts and column names does not count, nor does a column
    `index`.
    """
    try:
        expected, given = _without_index(expected), _without_index(given)
        if len(given) != len(expected) or sorted(given.columns) != sorted(expected.columns):
            return False
        return all(
            _same(given.iloc[row][column], expected.iloc[row][column])
            for row in range(len(given))
            for column in given.columns
        )
    except Exception as error:  # noqa: BLE001 - a frame from any text: names that are no text, values that are lists
        _log.debug("two tables that cannot be compared: %s", error)
        return False


def _without_index(table: Any) -> Any:
    table.columns = [name.strip() for name in table.columns]
    return table.drop(columns=["index"]) if "index" in table.columns else table


def _same(given: Any, expected: Any) -> bool:
    given = given.strip() if isinstance(given, str) else given
    expected = expected.strip() if isinstance(expected, str) else expected
    if not (_is_number(given) and _is_number(expected)):
        return bool(given == expected)
    try:
        x, y = float(given), float(expected)
    except (TypeError, ValueError):
        return str(given).strip() == str(expected).strip()
    return (math.isnan(x) and math.isnan(y)) or abs(x - y) < TOLERANCE


def _is_number(value: Any) -> bool:
    return isinstance(value, float) or bool(is_numeric_dtype(value))
