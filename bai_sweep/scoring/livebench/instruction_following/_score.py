"""A question's score: how many of its instructions the answer follows, and whether it follows all."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from bai_sweep.records import UserError
from bai_sweep.scoring.livebench.instruction_following._checks import CHECKS


def score(question: Mapping[str, Any], answer: str) -> float:
    """LiveBench's strict score: half for all instructions together, half for the share of them that is followed.

    Source: LiveBench/LiveBench, `livebench/process_results/instruction_following/utils.py`, `score_results`.

    Args:
        question: With `instruction_id_list` and `kwargs`, one mapping of arguments an instruction; None is no value.
        answer: The model's.

    Returns:
        From 0 to 1.

    Raises:
        UserError: See `followed`.
    """
    verdicts = followed(question, answer)
    return (all(verdicts) + sum(verdicts) / len(verdicts)) / 2


def followed(question: Mapping[str, Any], answer: str) -> list[bool]:
    """Whether the answer follows each instruction, in the question's order; a blank answer follows none.

    Raises:
        UserError: An instruction has no check here, lacks an argument, or the question has none at all.
    """
    names, arguments = question["instruction_id_list"], question["kwargs"]
    if not names or len(names) != len(arguments):
        raise UserError(
            f"a question has one set of arguments an instruction, and at least one instruction; question "
            f"{question.get('question_id')} has {len(names)} instructions and {len(arguments)} sets; mend its row"
        )
    text = answer.strip()  # as the official judging does before it scores
    return [
        bool(text) and _follows(name, {k: v for k, v in (given or {}).items() if v is not None}, text)
        for name, given in zip(names, arguments, strict=True)
    ]


def _follows(name: str, given: Mapping[str, Any], text: str) -> bool:
    if name not in CHECKS:
        raise UserError(
            f"an instruction is one of {', '.join(CHECKS)}; got {name!r}, which no question of the release up to "
            "2024-11-25 has; take the question out, or choose that release"
        )
    try:
        return CHECKS[name](text, given)
    except KeyError as error:
        raise UserError(f"instruction {name} needs the argument {error}; got {sorted(given)}; mend its row") from error
    except re.error as error:
        raise UserError(f"the words of {name} are regular expressions; got {dict(given)}: {error}") from error
