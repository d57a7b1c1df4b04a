"""Table join: which column of one table maps to which of another.

The rules are livebench/process_results/data_analysis/tablejoin/utils.py's.
"""

from __future__ import annotations

import re
import warnings
from ast import literal_eval
from collections.abc import Mapping
from typing import Any

import numpy as np

from bai_sweep.scoring.livebench._text import boxed

_SOLUTION = re.compile(r"<solution>(.*?)</solution>", re.DOTALL)
_FENCES = ("```python", "```json", "```")
_QUOTED_TEXT = re.compile(r"\\text{['|\"](.*?)['|\"]}")


def tablejoin(truth: str | Mapping[str, str], answer: str) -> float:
    """F1 of the pairs, to two decimals; a pair with a wrong second column counts as one too many and one missed.

    Args:
        truth: A dictionary {column of A: column of B}, or its Python text.
        answer: A response; a dictionary's literal in solution tags, on its own, in a code fence or in a box.

    Raises:
        UnreadableAnswerError: A box that the official scorer fails on.
    """
    expected = literal_eval(truth) if isinstance(truth, str) else truth
    given = _mapping(answer)
    if not given:
        return 0.0
    right = sum(value == expected.get(key) for key, value in given.items() if expected.get(key))
    wrong = len(given) - right
    missed = sum(bool(expected.get(key)) for key in given) - right + sum(not given.get(key) for key in expected)
    return float(np.round(2 * right / (2 * right + wrong + missed), 2))


def _mapping(answer: str) -> dict[Any, Any]:
    """The response's dictionary without the columns that it maps to nothing; empty where it gives none."""
    while found := _SOLUTION.findall(answer):
        answer = found[-1].strip()
    literal = _literal(answer)
    if literal is None:
        literal = _literal(_fenced(answer).replace("null", "None"))
    if not isinstance(literal, dict):
        return {}
    return {key: value for key, value in literal.items() if value is not None}


def _fenced(answer: str) -> str:
    joined = answer.replace("\n", "")
    for fence in _FENCES:
        if found := re.findall(f"{fence}(.*?)```", joined):
            return str(found[-1])
    content = boxed(joined) if r"\boxed" in joined else None
    return answer if content is None else _QUOTED_TEXT.sub(r"'\1'", content).replace("\\", "")


def _literal(text: str) -> Any:
    """The Python literal (constants and containers of them, nothing that is executed), None where it is none."""
    with warnings.catch_warnings(action="ignore"):  # of escapes that Python will not know for ever
        try:
            return literal_eval(text)
        except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
            return None
