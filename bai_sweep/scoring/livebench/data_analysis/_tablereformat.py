"""Table reformatting: a table put into another format.

The rules are livebench/process_results/data_analysis/tablereformat/utils.py's.
"""

from __future__ import annotations

import re
import warnings
from typing import Any

from bai_sweep.records import UserError
from bai_sweep.scoring.livebench.data_analysis._frames import SEPARATORS, equal, find_jsonl, find_separated, read

_TASK = re.compile(r"Please convert the Input Table from .*? format to (.*?) format", re.DOTALL)
_SOLUTION = re.compile(r"<solution>(.*?)</solution>", re.DOTALL)
_FENCES = (re.compile(r"```json\n(.*?)```", re.DOTALL), re.compile(r"```html\n(.*?)```", re.DOTALL))
_PHRASE = re.compile(r"^\s*(Here|Input)\b.*?\b(format|table)\s*[:)]\s*", re.IGNORECASE)


def tablereformat(truth: str, answer: str, question: str) -> float:
    """1 where the response is the reference's table in the format asked for (questions before 2025-04-25).

    Where it is not as a whole, a table within it counts for CSV (and TSV, where the whole cannot be read) and JSONL.

    Args:
        truth: The table in the format asked for.
        answer: A response.
        question: The question's text, which names the format.

    Raises:
        UserError: The question or its reference is not of this task.
    """
    with warnings.catch_warnings(action="ignore"):  # pandas' on dates and types that it guesses
        return float(_agree(_form(question), truth, answer))


def _agree(form: str, truth: str, answer: str) -> bool:
    expected = read(form, truth)
    if expected is None:
        raise UserError(f"the reference of a tablereformat question is a table in {form}; got {truth[:80]!r}")
    text = _PHRASE.sub("", _table_text(answer)).strip()
    given = read(form, text)
    if given is not None and equal(given, expected):
        return True
    if given is not None and form == "tsv":
        return False
    part = _within(form, text, list(expected.columns))
    return part is not None and equal(part, expected)


def _form(question: str) -> str:
    task = _TASK.search(question)
    if task is None:
        raise UserError(
            "a tablereformat question before 2025-04-25 says 'Please convert the Input Table from ... format to ... "
            f"format'; got {question[:80]!r}; choose an earlier release"
        )
    return task.group(1).lower()


def _within(form: str, text: str, columns: list[Any]) -> Any:
    if not all(isinstance(column, str) for column in columns):
        return None
    if form in SEPARATORS:
        return find_separated(text, columns, SEPARATORS[form])
    return find_jsonl(text, columns) if form == "jsonl" else None


def _table_text(answer: str) -> str:
    while found := _SOLUTION.findall(answer):
        answer = found[-1].strip()
    for fence in _FENCES:
        if found := fence.findall(answer):
            return str(found[-1]).strip()
    return re.sub(r"^```.*\n", "", answer).replace("&amp;", "&").replace("```", "").strip()
