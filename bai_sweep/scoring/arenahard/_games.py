"""Plays a question's two games: the judge compares the model's answer and the baseline's, in both orders."""

from __future__ import annotations

import logging
from dataclasses import asdict
from typing import Any

from bai_sweep.judging import Judge, JudgeError
from bai_sweep.scoring import Item
from bai_sweep.scoring.arenahard._battles import item_of
from bai_sweep.scoring.arenahard._prompts import GO_ON, judge_messages
from bai_sweep.scoring.arenahard._protocol import Protocol
from bai_sweep.scoring.arenahard._style import style_of
from bai_sweep.scoring.arenahard._tokens import token_counter

log = logging.getLogger(__name__)

_ENDING = 160  # characters of a judgment that the item keeps; the judge's cache has the whole


def play(judge: Judge, protocol: Protocol, *, category: str, question: str, answer: str, baseline: str) -> Item:
    """Has both games judged.

    Args:
        judge: Compares.
        protocol: The version's rules.
        category: The question's.
        question: The user's prompt.
        answer: The model's, without its thought.
        baseline: The baseline's.

    Returns:
        The share of battles won, weighted by the battles fought (0 where nothing counts). Its detail has `verdicts` of
        both games, `judgments` (attempts, judge, how the text ends or why there is none) and, for v2, `style`.

    Raises:
        BudgetError: The judge's allowance is spent. A question that the judge cannot answer has no verdict instead.
    """
    games = [
        _game(judge, protocol, judge_messages(category, question, first, second))
        for first, second in ((baseline, answer), (answer, baseline))
    ]
    (first, first_judgment), (second, second_judgment) = games
    detail: dict[str, Any] = {"judgments": [first_judgment, second_judgment]}
    if protocol.has_style:
        counter = token_counter()
        styles = {"model": style_of(answer, counter), "baseline": style_of(baseline, counter)}
        detail["style"] = {"counter": counter.name, **{whose: asdict(style) for whose, style in styles.items()}}
    return item_of((first, second), protocol, **detail)


def _game(judge: Judge, protocol: Protocol, messages: list[dict[str, str]]) -> tuple[str | None, dict[str, Any]]:
    """One game's verdict, and what to keep of the judgment: all attempts are read as one text, as in v0.1."""
    judgment = ""
    for attempt in range(protocol.attempts):
        try:
            reply = judge.ask(
                messages, temperature=protocol.temperature, max_tokens=protocol.max_tokens, attempt=attempt
            )
        except JudgeError as error:
            log.warning("ArenaHard: a game has no verdict, as the judge gave no answer: %s", error)
            return None, {"judge": judge.name, "attempts": attempt + 1, "error": str(error)}
        judgment += "\n" + reply.text
        reading = protocol.read(judgment)
        if not reading.again:
            break
        messages = [
            *messages,
            {"role": "assistant", "content": reply.text},
            {"role": "user", "content": GO_ON},
        ]
    return reading.verdict, {"judge": reply.model, "attempts": attempt + 1, "ending": judgment[-_ENDING:]}
