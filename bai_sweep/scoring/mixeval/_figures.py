"""Figures over scored items, beside their mean."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from bai_sweep.scoring._item import Pending, resolved, weighted_mean
from bai_sweep.scoring.mixeval._question import Half


def accuracy_of(half: Half) -> Callable[[Iterable[Pending]], float]:
    """A figure: the mean over the items of one half, from 0 to 1; NaN where no item is of it."""

    def figure(values: Iterable[Pending]) -> float:
        return weighted_mean(item for item in map(resolved, values) if item.detail["half"] == half)

    return figure


def share_unparsed(values: Iterable[Pending]) -> float:
    """The share of items in which no answer or verdict was found, from 0 to 1; officially these score at random."""
    return weighted_mean(not item.detail["parsed"] for item in map(resolved, values))
