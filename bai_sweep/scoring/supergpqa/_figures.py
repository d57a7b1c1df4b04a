"""The official report's figures over scored items (SuperGPQA/SuperGPQA, eval/eval.py)."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Literal

from bai_sweep.scoring._item import Pending, resolved, weighted_mean

Level = Literal["discipline", "field", "subfield"]
Figure = Callable[[Iterable[Pending]], float]


def accuracy_within(level: Level | Literal["difficulty"], name: str) -> Figure:
    """A figure: the accuracy over the items of one group, from 0 to 1; NaN where no item is of it."""

    def figure(values: Iterable[Pending]) -> float:
        return weighted_mean(item for item in map(resolved, values) if item.detail[level] == name)

    return figure


def macro_accuracy(level: Level) -> Figure:
    """A figure: the plain mean of the groups' accuracies ("Overall (field-wise)" and the like), from 0 to 1."""

    def figure(values: Iterable[Pending]) -> float:
        groups = defaultdict(list)
        for item in map(resolved, values):
            groups[item.detail[level]].append(item)
        return math.fsum(map(weighted_mean, groups.values())) / len(groups) if groups else math.nan

    return figure


def share_unanswered(values: Iterable[Pending]) -> float:
    """The share of items without an extracted answer (official "Miss Rate"), from 0 to 1."""
    return weighted_mean(item.detail["extracted"] is None for item in map(resolved, values))
