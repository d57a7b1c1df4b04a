"""Answers of the AIME: whole numbers from 0 to 999."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from bai_sweep.scoring.mathematics._equivalent import LONGEST
from bai_sweep.scoring.mathematics._extract import extract_answer
from bai_sweep.scoring.mathematics._normal import normalise
from bai_sweep.scoring.mathematics._numbers import rational
from bai_sweep.scoring.mathematics._structure import Equation, Expression, structure


def aime_answer(text: str) -> int | None:
    r"""The whole number that a response gives as its final answer.

    How it is written does not matter: "025", `\text{204}`, "204.", "204.0", `\frac{408}{2}`, "204 minutes". An
    equation gives its right side: `m+n = 204` is 204.

    Returns:
        None where the response gives no answer, several, or one that is no whole number from 0 to 999.
    """
    answer = extract_answer(text)
    return None if answer is None else whole_number(answer)


def whole_number(answer: str) -> int | None:
    """The value of an extracted answer, by the same rules."""
    if len(answer) > LONGEST:
        return None
    form = structure(normalise(answer))
    if isinstance(form, Equation) and form.states_a_value:
        form = form.value
    value = rational(form.text) if isinstance(form, Expression) else None
    if value is None or value.denominator != 1 or not 0 <= value <= 999:
        return None
    return int(value)


def majority_share(votes: Sequence[int | None], right: int) -> float:
    """How surely a majority vote is right: 1, 0, or `1 / n` where n answers lead together and one of them is right.

    Responses without an answer do not vote.
    """
    counts = Counter(vote for vote in votes if vote is not None)
    most = max(counts.values(), default=0)
    leaders = {answer for answer, count in counts.items() if count == most}
    return 1.0 / len(leaders) if right in leaders else 0.0
