"""The tasks of the release 2024-11-25, and which scorer each is scored by."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Mapping
from typing import Any

from bai_sweep.records import UserError
from bai_sweep.scoring.livebench._text import UnreadableAnswerError

_log = logging.getLogger(__name__)

Question = Mapping[str, Any]

NEW_FORMS = "2024-11-25"  # from this release on, zebra puzzles and connections are asked and scored otherwise
TASKS: Mapping[str, tuple[str, ...]] = {
    "coding": ("LCB_generation", "coding_completion"),
    "data_analysis": ("cta", "tablejoin", "tablereformat"),
    "instruction_following": ("paraphrase", "simplify", "story_generation", "summarize"),
    "language": ("connections", "plot_unscrambling", "typos"),
    "math": ("AMPS_Hard", "math_comp", "olympiad"),
    "reasoning": ("spatial", "web_of_lies_v2", "zebra_puzzle"),
}


def score(category: str, task: str, question: Question, answer: str) -> float:
    """What a response to a question scores, from 0 to 1, as livebench/gen_ground_truth_judgment.py scores it.

    A thought in <think> tags does not count. A response on which the official scorer fails scores 0.

    Args:
        category: One of `TASKS`, except coding, whose programs have to be run (`livebench.coding`).
        task: One of the category's.
        question: Its line of question.jsonl.
        answer: The response.

    Raises:
        UserError: There is no such task here, or the question is not one of it.
    """
    if category not in _SCORERS or task not in TASKS[category]:
        known = ", ".join(f"{name}/{{{','.join(TASKS[name])}}}" for name in _SCORERS)
        raise UserError(f"the LiveBench tasks that are scored by their text are {known}; got {category}/{task}")
    try:
        return _SCORERS[category](task, question, re.sub(r"<think>.*?</think>", "", answer, flags=re.DOTALL))
    except UnreadableAnswerError as error:
        _log.info("question %s scores 0: %s", question.get("question_id"), error)
        return 0.0


def _math(task: str, question: Question, answer: str) -> float:
    from bai_sweep.scoring.livebench.math import integer, multiple_choice, olympiad, symbolic

    truth, subtask = question["ground_truth"], str(question.get("subtask") or "")
    if task == "AMPS_Hard":
        return symbolic(truth, answer)
    if task == "olympiad":
        return olympiad(truth, answer)
    if subtask.startswith("aime"):
        return integer(truth, answer)
    if subtask.startswith(("amc", "smc", "updated_amc")):
        return multiple_choice(truth, answer, question["turns"][0])
    raise UserError(f"a math_comp question's subtask is of AMC, SMC or AIME; got {subtask!r}; check question.jsonl")


def _reasoning(task: str, question: Question, answer: str) -> float:
    from bai_sweep.scoring.livebench.reasoning import spatial, web_of_lies, zebra, zebra_before_2024_11_25

    truth = question["ground_truth"]
    if task == "zebra_puzzle":
        return (zebra if _is_new(question) else zebra_before_2024_11_25)(truth, answer)
    return (spatial if task == "spatial" else web_of_lies)(truth, answer)


def _data_analysis(task: str, question: Question, answer: str) -> float:
    from bai_sweep.scoring.livebench.data_analysis import cta, tablejoin, tablereformat

    truth = question["ground_truth"]
    if task == "tablereformat":
        return tablereformat(truth, answer, question["turns"][0])
    return cta(truth, answer) if task == "cta" else tablejoin(truth, answer)


def _language(task: str, question: Question, answer: str) -> float:
    from bai_sweep.scoring.livebench.language import (
        connections,
        connections_before_2024_11_25,
        plot_unscrambling,
        typos,
    )

    truth = question["ground_truth"]
    if task == "connections":
        return (connections if _is_new(question) else connections_before_2024_11_25)(truth, answer)
    return (typos if task == "typos" else plot_unscrambling)(truth, answer)


def _instruction_following(_task: str, question: Question, answer: str) -> float:
    from bai_sweep.scoring.livebench.instruction_following import score as followed

    return followed(question, answer)


def _is_new(question: Question) -> bool:
    return str(question["livebench_release_date"]) >= NEW_FORMS


_SCORERS: Mapping[str, Callable[[str, Question, str], float]] = {  # each imports its room when it is first used
    "data_analysis": _data_analysis,
    "instruction_following": _instruction_following,
    "language": _language,
    "math": _math,
    "reasoning": _reasoning,
}
