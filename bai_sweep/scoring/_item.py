"""One item's score, and the mean over items that lm-eval aggregates with."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Item:
    """What one item of a benchmark scored.

    Args:
        value: From 0 to 1, higher is better.
        weight: In the benchmark's mean: a game decided by `>>` counts as three battles.
        detail: Plain values kept beside it: what was extracted, what the judge said.
    """

    value: float
    weight: float = 1.0
    detail: Mapping[str, Any] = field(default_factory=dict)


Scored = Item | float | int | bool
Pending = Scored | Future[Item]


def resolved(value: Pending) -> Item:
    """The item that a metric's value stands for; waits for one that is still being scored.

    Raises:
        Exception: What scoring it raised.
    """
    if isinstance(value, Future):
        value = value.result()
    return value if isinstance(value, Item) else Item(float(value))


def weighted_mean(values: Iterable[Pending]) -> float:
    """`sum_i w_i v_i / sum_i w_i`, NaN where nothing has a weight."""
    items = [resolved(value) for value in values]
    total = math.fsum(item.weight for item in items)
    return math.fsum(item.weight * item.value for item in items) / total if total > 0.0 else math.nan
