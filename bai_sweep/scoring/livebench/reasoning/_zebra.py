"""Zebra puzzles: who stands where with which attributes.

The rules are livebench/process_results/reasoning/zebra_puzzle/utils.py's.
"""

from __future__ import annotations

import re

from bai_sweep.scoring.livebench._text import boxed, fbox_as_boxed, last_line, solutions

_WORDS = {
    "1": "one",
    "2": "two",
    "3": "three",
    "4": "four",
    "5": "five",
    "6": "six",
    "7": "seven",
    "8": "eight",
    "9": "nine",
}


def zebra(truth: str, answer: str) -> float:
    """Half for every question of the puzzle right, half for the fraction that is (questions of 2024-11-25 and later).

    Args:
        truth: The answers in order, separated by commas.
        answer: A response; its answers are the last ones in solution tags, or in a box, or the last line.

    Raises:
        UnreadableAnswerError: A box that the official scorer fails on.
    """
    expected = truth.split(",")
    found = _answers(answer, len(expected))
    right = sum(
        _plain(want) in _plain(got).replace("position", "") for want, got in zip(expected, found, strict=False)
    )
    return ((right == len(expected)) + right / len(expected)) / 2


def zebra_before_2024_11_25(truth: str, answer: str) -> float:
    """1 where the last word in triple asterisks, or else the last word of all, is the single answer."""
    marked = re.findall(r"\*\*\*(\w+)\*\*\*", answer)
    words = marked or re.findall(r"\b\w+\b", answer)
    word = words[-1] if words else ""
    return float(truth.lower() in (word.lower(), _WORDS.get(word), word.lower() + " movies"))


def _answers(answer: str, count: int) -> list[str]:
    found = solutions(answer, mistyped=True)
    if len(found) > 1:
        return [part for solution in found for part in solution.split(",")][-count:]
    if not found:
        found = _untagged(fbox_as_boxed(answer), count)
    return found[0].split(",") if found else []


def _untagged(answer: str, count: int) -> list[str]:
    content = boxed(answer)
    if content is not None:
        return [content.replace(r"\text{", "").replace("}", "").replace("\\", "")]
    line = last_line(answer)
    return [line] if line.count(",") == count - 1 else []


def _plain(text: str) -> str:
    return text.strip().lower().replace("-", " ")
