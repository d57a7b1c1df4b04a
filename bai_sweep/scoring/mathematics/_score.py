"""How MATH and AIME are asked, and what the k responses to an item score."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from bai_sweep.records import UserError
from bai_sweep.scoring._item import Item, Pending, resolved, weighted_mean
from bai_sweep.scoring.mathematics._aime import aime_answer, majority_share, whole_number
from bai_sweep.scoring.mathematics._equivalent import equivalent
from bai_sweep.scoring.mathematics._extract import extract_answer, extract_boxed


def prompt(problem: str) -> str:
    r"""The user's message: the problem and the usual directive for instruct models.

    Its wording is what Qwen2.5-Math is asked with and what DeepSeek-R1's and DeepSeekMath's model cards advise.
    """
    return f"{problem.strip()}\nPlease reason step by step, and put your final answer within \\boxed{{}}."


def reference_answer(row: Mapping[str, Any]) -> str:
    """A row's answer: its own column, or the last box of its solution, as in EleutherAI/hendrycks_math.

    Raises:
        UserError: It has neither.
    """
    if row.get("answer") not in (None, ""):
        return str(row["answer"])
    answer = extract_boxed(str(row.get("solution") or ""))
    if answer is None:
        row_name = row.get("unique_id") or str(row.get("problem"))[:60]
        raise UserError(
            "a problem of MATH needs an `answer`, or a `solution` whose last box holds it; "
            f"row {row_name!r} has neither; check the file"
        )
    return answer


def score_math(responses: Sequence[str], reference: str, **detail: Any) -> Item:
    """The share of the responses whose answer is equivalent to the reference; a response without an answer is wrong.

    Args:
        responses: k of them, without their thoughts.
        reference: Of the data set.
        detail: Kept with the item, beside what was extracted.
    """
    extracted = [extract_answer(response) for response in responses]
    right = [answer is not None and equivalent(answer, reference) for answer in extracted]
    return Item(sum(right) / len(right), detail={"extracted": extracted, "right": right, **detail})


def score_aime(responses: Sequence[str], reference: str) -> dict[str, Item]:
    """avg@k as `exact_match`, the majority vote as `maj_at_k`, whether any response is right as `pass_at_k`.

    Raises:
        UserError: The reference is no whole number from 0 to 999.
    """
    answer = whole_number(reference)
    if answer is None:
        raise UserError(f"an answer of the AIME is a whole number from 0 to 999; got {reference!r}; check the file")
    votes = [aime_answer(response) for response in responses]
    right = [vote == answer for vote in votes]
    detail = {"extracted": votes, "given": [extract_answer(response) for response in responses]}
    values = {
        "exact_match": sum(right) / len(right),
        "maj_at_k": majority_share(votes, answer),
        "pass_at_k": float(any(right)),
        "no_answer": sum(vote is None for vote in votes) / len(votes),
    }
    return {metric: Item(value, detail=detail) for metric, value in values.items()}


def share_unanswered(values: Iterable[Pending]) -> float:
    """The share of responses without an extracted answer, from 0 to 1: cut off, or in another form."""
    shares = [item.detail["extracted"] for item in map(resolved, values)]
    return math.fsum(answer is None for each in shares for answer in each) / max(1, sum(map(len, shares)))


def accuracy_at(level: int) -> Callable[[Iterable[Pending]], float]:
    """A figure: the accuracy over the problems of one level of difficulty; NaN where there are none."""

    def figure(values: Iterable[Pending]) -> float:
        return weighted_mean(item for item in map(resolved, values) if item.detail["level"] == level)

    return figure
