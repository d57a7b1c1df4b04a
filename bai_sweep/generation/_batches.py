"""How many rows a batch has: by the tokens that they take, known beforehand or expected."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TypeVar, final

import numpy as np

GUESS = 512
"""Tokens of a response that are expected as long as no response is known."""

FEW = 8
"""Fewer known responses than this do not replace the guess."""

MARGIN = 1.1
"""Responses are expected to be longer than those known by this factor: the first to end are not the longest."""

PASS_TOKENS = 128
"""A forward pass costs what reading so many tokens of a prompt costs, however few rows it has: weights are read, and
kernels launched. (Some ten tokens on a CPU with a large model, some hundreds on a GPU.)"""

T = TypeVar("T")


def batches_by_tokens(lengths: Sequence[int], batch_tokens: int) -> Iterator[list[int]]:
    """Groups of indices, longest first, so that rows times the longest row stay within `batch_tokens`.

    A row longer than the budget is a group of its own. The longest come first so that memory runs out at once or
    never.
    """
    order = sorted(range(len(lengths)), key=lambda i: (-lengths[i], i))
    start = 0
    while start < len(order):
        rows = max(1, batch_tokens // max(1, lengths[order[start]]))
        yield order[start : start + rows]
        start += rows


def in_order(batches: Iterable[list[tuple[int, T]]]) -> list[T]:
    """What `generate` or `continuation_logprobs` yields, in the order of the requests."""
    return [answer for _, answer in sorted((pair for batch in batches for pair in batch), key=lambda pair: pair[0])]


@final
class Lengths:
    """The lengths of responses, learned as they end; a suspended row counts as far as it has come."""

    def __init__(self) -> None:
        self._known: dict[int, int] = {}

    def note(self, row: int, tokens: int) -> None:
        """A row's response has `tokens` tokens by now."""
        self._known[row] = tokens

    def expected(self, drawn: int, limit: int) -> np.ndarray:
        """Probable lengths, ascending, of what follows the first `drawn` tokens of a response; at most `limit`."""
        known = np.array([length - drawn for length in self._known.values() if length > drawn])
        if len(known) < FEW:
            known = np.array([max(GUESS, drawn)])  # who has come far goes far
        return np.minimum(np.sort(known) * MARGIN, limit)

    def positions(self, fed: int, drawn: int, limit: int) -> int:
        """Positions that each row of a batch takes of the cache when the batch takes the most.

        Rows leave as they end. So n rows of which a share s is left after t tokens fill n s (fed + t) positions, and
        a row stands for the largest s (fed + t) that comes up.

        Args:
            fed: Tokens that each row begins with.
            drawn: How many of them belong to the response.
            limit: New tokens at most.
        """
        lengths = self.expected(drawn, limit)
        left = np.arange(len(lengths), 0, -1) / len(lengths)
        return int((left * (fed + lengths)).max())
