"""Has an LLM read the response: Psycoy/MixEval, mix_eval/utils/metric_utils.py."""

from __future__ import annotations

import logging
import re
from typing import Any

from bai_sweep.judging import Judge, JudgeError
from bai_sweep.scoring._item import Item
from bai_sweep.scoring.mixeval._judge_prompts import judge_messages
from bai_sweep.scoring.mixeval._question import Half, Question

_LOG = logging.getLogger(__name__)
ATTEMPTS = 10
TEMPERATURE = 1.0  # the official request sets none, and this is the endpoint's default; at 0 asking again is vain
MAX_TOKENS = 4096  # officially 999: a judge that reasons before its verdict would not reach it
_SCORE = r"\[(\d+\.?\d*)\]"
_OPTION = r"\[([A-Z])\]"


def score_by_judge(question: Question, response: str, judge: Judge) -> Item:
    """What the judge says that a response is worth: a score in tenths, or whether the option it reads is right.

    A reply without a verdict is asked for again, up to ten times. Without any, the official code draws a score or an
    option at random; here the item scores 0 and `parsed` is False. So it does where the judge cannot be asked.

    Args:
        question: The item.
        response: Without its thought.
        judge: Asked for it.

    Raises:
        BudgetError: The judge's budget is spent.
    """
    detail: dict[str, Any] = {"half": question.half, "benchmark": question.benchmark, "judge": judge.name}
    messages, said = judge_messages(question, response), ""
    for attempt in range(ATTEMPTS):
        try:
            said = judge.ask(messages, temperature=TEMPERATURE, max_tokens=MAX_TOKENS, attempt=attempt).text
        except JudgeError as error:  # it has tried again by itself
            said = f"{type(error).__name__}: {error}"
            break
        if (verdict := verdict_in(said, question.half)) is not None:
            value = verdict if isinstance(verdict, float) else float(verdict == question.targets[0])
            return Item(value, detail={**detail, "verdict": verdict, "parsed": True, "said": said})
    _LOG.warning("%s counts as wrong: the judge gave no verdict, at last %.200r", question.id, said)
    return Item(0.0, detail={**detail, "verdict": None, "parsed": False, "said": said})


def verdict_in(reply: str, half: Half) -> float | str | None:
    """The first mark in double brackets, or without one the first in single brackets.

    Returns:
        Free-form: a score from 0 to 1. Multiple choice: a capital letter. None where there is no such mark.
    """
    mark = _SCORE if half == "free-form" else _OPTION
    match = re.search(rf"\[{mark}\]", reply) or re.search(mark, reply)
    if match is None or half == "multiple-choice":
        return match and match[1]
    score = float(match[1])
    return score if score <= 1.0 else None
