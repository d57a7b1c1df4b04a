"""Spatial reasoning: a number or a solid's name (livebench/process_results/reasoning/spatial/utils.py)."""

from __future__ import annotations

import re

from bai_sweep.scoring.livebench._text import boxed, fbox_as_boxed

# fmt: off
_NUMBERS = (
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten",
    "eleven", "twelve", "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen", "twenty",
)
# fmt: on
_SHAPES = ("tetrahedra", "tetrahedron", "triangle", "square")


def spatial(truth: str, answer: str) -> float:
    """1 where one of the last three bold phrases, or the last box, is the reference.

    A bold phrase may spell a number up to twenty out, and may say a little more than the shape that is asked for
    ("two tetrahedra").

    Args:
        truth: A number in digits, or a word.
        answer: A response.

    Raises:
        UnreadableAnswerError: A box that the official scorer fails on.
    """
    if answer == truth:
        return 1.0
    wanted = truth.strip().lower()
    phrases = [phrase.strip().lower() for phrase in re.findall(r"\*\*([^\*]+)\*\*", answer)[-3:]]
    return float(any(_says(phrase, wanted) for phrase in phrases) or _box_says(answer, truth))


def _says(phrase: str, wanted: str) -> bool:
    if phrase == wanted:
        return True
    if phrase in _NUMBERS and str(_NUMBERS.index(phrase)) == wanted:
        return True
    return wanted in _SHAPES and wanted in phrase and len(phrase) < 2 * len(wanted) + 5


def _box_says(answer: str, truth: str) -> bool:
    content = boxed(fbox_as_boxed(answer))
    if content is None:
        return False
    for mark in (r"\textbf{", r"\mathbf{", r"\text{", "}"):
        content = content.replace(mark, "")
    return content == truth
