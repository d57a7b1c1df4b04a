"""Typos: a text with its misspellings put right (livebench/process_results/writing/typos/utils.py)."""

from __future__ import annotations

import re

from bai_sweep.scoring.livebench._text import solutions

_DASHES = re.compile(r".* --- (.*?) --- .*")


def typos(truth: str, answer: str) -> float:
    """1 where the corrected text stands, letter for letter, in the response's answer.

    That is the last one in solution tags, or between dashes, or all of it; lines are joined by spaces.

    Args:
        truth: The corrected text.
        answer: A response.
    """
    found = solutions(answer)
    text = found[-1] if found else _untagged(answer)
    return float(truth in " ".join(line for line in text.strip().split("\n") if line))


def _untagged(answer: str) -> str:
    answer = answer.replace("<solution>", "").replace("</solution>", "")
    dashed = _DASHES.search(answer)
    return dashed.group(1) if dashed else answer
