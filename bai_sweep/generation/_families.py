"""Which requests begin alike, so that what they share is computed once: few-shot headers, system prompts."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from bai_sweep.generation._batches import PASS_TOKENS

LEAST_TOKENS = 32
"""A shorter common beginning is left alone."""


class Family(NamedTuple):
    """Rows by their indices, and how many leading tokens all of them share (0: nothing worth sharing)."""

    rows: list[int]
    shared: int


@dataclass(frozen=True)
class Prices:
    """What it takes to set rows apart.

    Args:
        budget: Rows times tokens in one batch.
        new_tokens: Expected response of a row, 0 where nothing is generated.
    """

    budget: int
    new_tokens: int

    def saved(self, rows: int, longest: int, shared: int) -> int:
        """Tokens of prompts that `rows` of at most `longest` tokens save, less what their batches cost more; or 0."""
        if rows < 2 or shared < LEAST_TOKENS:
            return 0
        batches = rows / max(1, self.budget // (longest + self.new_tokens))
        unused = math.ceil(batches) - batches
        return max(0, shared * (rows - 1) - int(unused * (1 + self.new_tokens) * PASS_TOKENS))


def families(rows: Sequence[Sequence[int]], prices: Prices) -> list[Family]:
    """Groups rows that begin alike such that much is saved; a group gets batches of its own.

    The rule: a group of n rows that share s tokens saves s (n - 1) tokens. It costs the part of its last batch that
    stays empty, in forward passes: one for the prompts and one for each token of the expected response. It is set
    apart where it saves more than it costs. So sixteen equal prompts with long responses stand in one batch with
    other prompts, while a few-shot header of a thousand tokens, or rows that fill their batches, stand alone.

    In sorted order rows that begin alike stand side by side. A group is split where its rows agree least if the parts
    save more than the whole, until none does: fifty subjects with a header each become fifty groups even where all
    of them share a system prompt.

    Args:
        rows: Token ids, none of them empty.
        prices: Of the model's time.

    Returns:
        Groups that together hold every row once, that of the longest row first; those that share nothing are one.
    """
    sizes = np.array([len(row) for row in rows])
    order = sorted(range(len(rows)), key=lambda i: tuple(rows[i]))
    common = np.array([_common(rows[a], rows[b]) for a, b in itertools.pairwise(order)], dtype=np.int64)

    def shared(start: int, end: int) -> int:
        return int(common[start : end - 1].min()) if end - start > 1 else 0

    def saved(start: int, end: int) -> int:
        return prices.saved(end - start, int(sizes[order[start:end]].max()), shared(start, end))

    found: list[Family] = []
    alone: list[int] = []
    ranges = [(0, len(order))] if order else []
    while ranges:
        start, end = ranges.pop()
        parts = _parts(common, start, end)
        if len(parts) > 1 and sum(saved(*part) for part in parts) > saved(start, end):
            ranges += parts
        elif saved(start, end):
            found.append(Family(order[start:end], shared(start, end)))
        else:
            alone += order[start:end]
    groups = [*found, Family(alone, 0)] if alone else found
    return sorted(groups, key=lambda family: (-int(sizes[family.rows].max()), min(family.rows)))


def _common(one: Sequence[int], other: Sequence[int]) -> int:
    """How many leading tokens two rows share; the last of a row is never one, as something has to be left to feed."""
    longest = min(len(one), len(other)) - 1
    if longest < 1:
        return 0
    differ = np.flatnonzero(np.asarray(one[:longest]) != np.asarray(other[:longest]))
    return int(differ[0]) if len(differ) else longest


def _parts(common: np.ndarray, start: int, end: int) -> list[tuple[int, int]]:
    inside = common[start : end - 1]
    if not len(inside):
        return [(start, end)]
    cuts = [start, *(start + 1 + np.flatnonzero(inside == inside.min())).tolist(), end]
    return list(itertools.pairwise(cuts))
