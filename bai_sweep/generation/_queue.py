"""Which prompts are continued together, and which of them have not ended."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import NamedTuple, final

from transformers import PreTrainedModel

from bai_sweep.generation._batches import Lengths
from bai_sweep.generation._families import Family, Prices, families
from bai_sweep.generation._sharing import can_share

FEW_SHARE = 1 / 8
"""Where no more than this share of a batch is left, it need not go on for them alone while others wait."""


class Batch(NamedTuple):
    """Prompts to be continued together.

    Args:
        rows: Their indices, the longest first.
        shared: How many leading tokens they share.
        few: Where no more than so many are left, they may be suspended.
    """

    rows: list[int]
    shared: int
    few: int


@final
class Queue:
    """Hands out batches of prompts and takes back what became of them, until all have ended.

    A round goes over all that is left, the longest first; what is suspended in it goes on in the next round, beside
    rows of about its length.

    Args:
        prompts: Token ids, none of them empty.
        limits: New tokens of each at most.
        budget: Rows times positions of a batch at most.
    """

    def __init__(
        self, model: PreTrainedModel, prompts: Sequence[Sequence[int]], limits: Sequence[int], budget: int
    ) -> None:
        self.drawn: list[list[int]] = [[] for _ in prompts]
        self._model, self._prompts, self._limits, self._budget = model, prompts, limits, budget
        self._lengths = Lengths()
        self._suspended: list[int] = []  # in this round
        self._waiting = 0  # prompts of this round that no batch has had

    def __iter__(self) -> Iterator[Batch]:
        """Batches; `take` answers each."""
        pending = list(range(len(self._prompts)))
        while pending:
            self._suspended, self._waiting = [], len(pending)
            for family in self._families(pending):
                yield from self._batches([pending[k] for k in family.rows], family.shared)
            pending = self._suspended

    def row(self, i: int) -> list[int]:
        """A prompt with what has been drawn of its response."""
        return [*self._prompts[i], *self.drawn[i]]

    def left(self, i: int) -> int:
        """New tokens that a prompt may still have."""
        return self._limits[i] - len(self.drawn[i])

    def take(self, group: Sequence[int], tokens: Sequence[list[int]], ended: Sequence[bool]) -> list[int]:
        """Adds a batch's new tokens; gives the prompts whose responses are whole."""
        for i, new in zip(group, tokens, strict=True):
            self.drawn[i] += new
            self._lengths.note(i, len(self.drawn[i]))
        over = [end or not self.left(i) for i, end in zip(group, ended, strict=True)]
        self._suspended += [i for i, end in zip(group, over, strict=True) if not end]
        return [i for i, end in zip(group, over, strict=True) if end]

    def _families(self, pending: Sequence[int]) -> list[Family]:
        rows = [self.row(i) for i in pending]
        longest = max(pending, key=lambda i: len(self._prompts[i]) + len(self.drawn[i]))
        new = int(self._lengths.expected(len(self.drawn[longest]), max(map(self.left, pending))).mean())
        found = families(rows, Prices(self._budget, new))
        if all(not family.shared for family in found) or self._can_share:
            return found
        return [Family(list(range(len(pending))), 0)]

    def _batches(self, members: list[int], shared: int) -> Iterator[Batch]:
        """The batches of one family, each of a size that takes account of all that has ended before it."""
        rest = sorted(members, key=lambda i: (-len(self.row(i)), i))
        limit = max(map(self.left, rest))
        while rest:
            each = self._lengths.positions(len(self.row(rest[0])), len(self.drawn[rest[0]]), limit)
            size = max(1, self._budget // each)
            group, rest = rest[:size], rest[size:]
            self._waiting -= len(group)
            others = self._waiting or self._suspended
            yield Batch(group, shared if len(group) > 1 else 0, int(FEW_SHARE * len(group)) if others else 0)

    @cached_property
    def _can_share(self) -> bool:
        return can_share(self._model)
