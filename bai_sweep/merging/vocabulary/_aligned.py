"""A model's tensors with the rows of its vocabulary where the result has them."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from math import prod
from threading import Lock
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from bai_sweep.merging._types import BLOCK, Tensors, TensorSpec, Values
from bai_sweep.merging.vocabulary._plan import shown
from bai_sweep.merging.vocabulary._types import Rows, VocabularyPlan
from bai_sweep.records import UserError

MissingTokens = Literal["mean", "zero", "refuse"]


def aligned(
    members: Mapping[str, Tensors],
    plan: VocabularyPlan,
    names: Collection[str],
    *,
    missing_tokens: MissingTokens,
) -> dict[str, Tensors]:
    """The members' tensors in the result's rows.

    Args:
        members: The models that are read; a missing row's mean is taken over them, in this order.
        names: The tensors whose first dimension is the vocabulary.
        missing_tokens: What stands for a token that a member lacks: the mean of those that have it, zero, or an error.

    Raises:
        UserError: A token is lacking and `missing_tokens` is refuse.
    """
    if missing_tokens == "refuse":
        _refuse_missing(members, plan)
    return {
        name: tensors
        if plan.maps[name] is None
        else _Aligned(name, members, plan, frozenset(names), zero=missing_tokens == "zero")
        for name, tensors in members.items()
    }


def _refuse_missing(members: Collection[str], plan: VocabularyPlan) -> None:
    faults = []
    for name in members:
        lacked = plan.lacked(name)
        if lacked.size:
            tokens = shown(plan.absent[int(i)] for i in lacked)
            faults.append(f"  - {name} lacks {lacked.size} tokens: {tokens}")
    if faults:
        raise UserError(
            "missing_tokens=refuse: every model has every token of the result; "
            "choose missing_tokens=mean or zero, or vocabulary=tokenizer:\n" + "\n".join(faults)
        )


class _Aligned:
    """One member's; rows that follow each other in its file are read in one piece."""

    def __init__(
        self,
        name: str,
        members: Mapping[str, Tensors],
        plan: VocabularyPlan,
        names: Collection[str],
        *,
        zero: bool,
    ) -> None:
        rows = plan.maps[name]
        self._rows: Rows = np.arange(plan.rows) if rows is None else rows
        self._source = members[name]
        self._others = [(tensors, plan.maps[other]) for other, tensors in members.items() if other != name]
        lacks = self._rows < 0
        self._zero = lacks & ~plan.padded if zero else np.zeros_like(lacks)
        self._starts = _starts(self._rows, self._zero, [theirs for _, theirs in self._others])
        specs = self._source.specs
        self._widths = {name: prod(specs[name].shape[1:]) for name in names if name in specs}
        self._specs = {
            name: TensorSpec((plan.rows, *spec.shape[1:]), spec.dtype) if name in self._widths else spec
            for name, spec in specs.items()
        }
        self._means: dict[str, Values] = {}
        self._lock = Lock()

    @property
    def specs(self) -> Mapping[str, TensorSpec]:
        """With the result's rows."""
        return self._specs

    def read(self, name: str, start: int, into: Values) -> None:
        """As `Tensors.read`, in the result's rows."""
        if name not in self._widths:
            self._source.read(name, start, into)
            return
        width = self._widths[name]
        for first, low, high in self._runs(width, start, start + len(into)):
            self._fill(name, first, low, into[low - start : high - start])

    def _runs(self, width: int, start: int, stop: int) -> Iterator[tuple[int, int, int]]:
        """The first row of each run that elements `start` to `stop` touch, and the elements of it that they do."""
        low_run = int(np.searchsorted(self._starts, start // width, side="right")) - 1
        low = start
        for run in range(low_run, len(self._starts)):
            if low >= stop:
                return
            end = self._starts[run + 1] if run + 1 < len(self._starts) else len(self._rows)
            high = min(int(end) * width, stop)
            yield int(self._starts[run]), low, high
            low = high

    def _fill(self, name: str, row: int, start: int, into: Values) -> None:
        """Elements from `start` on, which lie in the run that begins at `row`."""
        shift = self._widths[name]
        if self._rows[row] >= 0:
            self._source.read(name, start + int(self._rows[row] - row) * shift, into)
            return
        if self._zero[row]:
            into.fill(0.0)
            return
        donors = [
            (tensors, 0 if theirs is None else int(theirs[row] - row))
            for tensors, theirs in self._others
            if theirs is None or theirs[row] >= 0
        ]
        if not donors:
            mean = self._mean_row(name)
            into[:] = mean[(np.arange(len(into)) + start) % len(mean)]
            return
        donors[0][0].read(name, start + donors[0][1] * shift, into)
        more = np.empty_like(into) if len(donors) > 1 else into
        for tensors, rows in donors[1:]:
            tensors.read(name, start + rows * shift, more)
            np.add(into, more, out=into)
        if len(donors) > 1:
            np.divide(into, np.float32(len(donors)), out=into)

    def _mean_row(self, name: str) -> Values:
        """Of all rows of the member: what a token that no model has begins with."""
        with self._lock:
            if name not in self._means:
                self._means[name] = _mean_row(self._source, name, self._widths[name])
            return self._means[name]


def _mean_row(source: Tensors, name: str, width: int) -> Values:
    rows = source.specs[name].shape[0]
    step = max(1, BLOCK // width)
    total = np.zeros(width, dtype=np.float64)
    room = np.empty(min(step, rows) * width, dtype=np.float32)
    for first in range(0, rows, step):
        part = room[: min(step, rows - first) * width]
        source.read(name, first * width, part)
        total += np.add.reduce(part.reshape(-1, width), axis=0, dtype=np.float64)
    return (total / rows).astype(np.float32)


def _starts(own: Rows, zero: NDArray[np.bool_], others: list[Rows | None]) -> Rows:
    """Where runs begin: rows that follow each other here or, where they lack, in every other member."""
    breaks = _breaks(own)
    lacks = own < 0
    if lacks.any():
        breaks[1:] |= zero[1:] != zero[:-1]
        for theirs in others:
            if theirs is not None:
                breaks |= _breaks(theirs) & lacks
    return np.flatnonzero(breaks)


def _breaks(rows: Rows) -> NDArray[np.bool_]:
    has = rows >= 0
    breaks = np.ones(len(rows), dtype=np.bool_)
    breaks[1:] = (has[1:] != has[:-1]) | (has[1:] & (np.diff(rows) != 1))
    return breaks
