r"""Competition problems: AMC and SMC, answered by one of five letters, and AIME, answered by an integer.

The rules are livebench/process_results/math/math_competitions/utils.py's; an answer is right where any finds it.
"""

from __future__ import annotations

import re

from bai_sweep.records import UserError
from bai_sweep.scoring.livebench._text import boxed, fbox_as_boxed, last_line, solutions

LETTERS = "ABCDE"
_OPTION = re.compile(r"\\textbf{\(([A-E])\)\s?}(.*?)(?:\\qquad|\$)")


def multiple_choice(truth: str, answer: str, question: str) -> float:
    """1 where the letter is given in a solution tag, four times in a row, in a box, by its value, or in the last line.

    Args:
        truth: The letter of the right option.
        answer: A response.
        question: The question's text, with the options in LaTeX.

    Raises:
        UserError: The reference answer is no letter from A to E.
        UnreadableAnswerError: A box that the official scorer fails on.
    """
    if len(truth) != 1 or truth not in LETTERS:
        raise UserError(f"the answer of an AMC question is a letter from A to E; got {truth!r}; check question.jsonl")
    if _in_solution(truth, answer) or truth * 4 in answer:
        return 1.0
    answer = fbox_as_boxed(answer)
    return float(_in_box(truth, answer) or _by_value(truth, answer, question) or _in_last_line(truth, answer))


def integer(truth: str, answer: str) -> float:
    """1 where the integer, written as in the reference, stands within the last 50 characters (AIME)."""
    return float(truth in answer[-50:])


def _in_solution(truth: str, answer: str) -> bool:
    found = solutions(answer)
    return bool(found) and len(set(found[-1])) == 1 and found[-1][0].lower() == truth.lower()


def _in_box(truth: str, answer: str) -> bool:
    content = boxed(answer)
    if content is None:
        return False
    return content.replace(r"\text{", "").replace("}", "").replace("\\", "").lower() == truth.lower()


def _by_value(truth: str, answer: str, question: str) -> bool:
    value = _option(truth, question)
    return value in answer[-(20 + len(value)) :]


def _option(letter: str, question: str) -> str:
    """The text of an option; a word that no response holds where the question does not spell it out."""
    value = {name: text.strip() for name, text in _OPTION.findall(question)}.get(letter) or "FAILURE"
    return value.strip("$").strip("~")


def _in_last_line(truth: str, answer: str) -> bool:
    line = last_line(answer)
    if line.strip().replace("*", "").lower() == truth.lower():
        return True
    return "(" in line and ")" in line and line.split("(")[1].split(")")[0].lower() == truth.lower()
