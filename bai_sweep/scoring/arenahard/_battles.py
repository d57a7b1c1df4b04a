"""From the verdicts of a question's two games to its battles and its item."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from bai_sweep.scoring import Item, Pending, resolved
from bai_sweep.scoring.arenahard._protocol import Protocol

Verdicts = tuple[str | None, str | None]  # of game 1, where A is the baseline, and of game 2, where A is the model


def item_of(verdicts: Verdicts, protocol: Protocol, **detail: Any) -> Item:
    """A question's item: the share of its battles that the model won; its weight is the battles fought.

    Args:
        verdicts: Of both games; None for a game without one.
        protocol: Says whether such a game takes the other one with it.
        detail: More to keep beside the score.
    """
    won = battles_of(verdicts, protocol)
    value = sum(won) / len(won) if won else 0.0
    return Item(value, weight=float(len(won)), detail={"verdicts": list(verdicts), **detail})


def battles_of(verdicts: Verdicts, protocol: Protocol) -> list[float]:
    """Share of each battle that the model won, in the order in which official code lists them.

    The order is what a seeded bootstrap draws from: v0.1 lists game 1 first, v2 game 2. v0.1 leaves out the game that
    has no verdict, v2 the question (`get_battles_from_judgment` and `load_judgments` in the official show_result.py).
    """
    if protocol.needs_both and None in verdicts:
        return []
    first, second = (
        protocol.battles(verdict, model_is=place) if verdict is not None else []
        for verdict, place in zip(verdicts, ("B", "A"), strict=True)
    )
    return second + first if protocol.needs_both else first + second


def verdicts_of(items: Iterable[Pending]) -> list[Verdicts]:
    """The verdicts of scored items; waits for those that are still judged."""
    pairs = []
    for value in items:
        first, second = resolved(value).detail["verdicts"]
        pairs.append((first, second))
    return pairs
