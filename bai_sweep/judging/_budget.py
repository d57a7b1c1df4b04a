"""What is spent and what may still be: a request counts at its most before it is sent, at its price afterwards."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

from bai_sweep.judging._records import BudgetError, OnProgress, Spending

MILLION = 1_000_000


@dataclass(frozen=True)
class Usage:
    """Tokens of a request."""

    prompt: int = 0
    completion: int = 0

    def __add__(self, other: Usage) -> Usage:
        return Usage(self.prompt + other.prompt, self.completion + other.completion)

    def __sub__(self, other: Usage) -> Usage:
        return Usage(self.prompt - other.prompt, self.completion - other.completion)

    @property
    def total(self) -> int:
        """Prompt and completion."""
        return self.prompt + self.completion


NOTHING = Usage()


@dataclass(frozen=True)
class Terms:
    """Prices of a million tokens, and caps; None: no cap."""

    prompt_price: float = 0.0
    completion_price: float = 0.0
    max_tokens: int | None = None
    max_cost: float | None = None

    def cost(self, usage: Usage) -> float:
        """In the currency of the prices."""
        return (usage.prompt * self.prompt_price + usage.completion * self.completion_price) / MILLION

    def allow(self, usage: Usage) -> bool:
        """Whether a total is within both caps."""
        tokens = self.max_tokens is None or usage.total <= self.max_tokens
        return tokens and (self.max_cost is None or self.cost(usage) <= self.max_cost)


@dataclass
class Booking:
    """A request under way; `usage` is what it is charged when it ends: its most, unless set to what it really was."""

    usage: Usage


class Ledger:
    """A judge's account. Thread-safe.

    Args:
        terms: Prices and caps.
        on_progress: Called with the totals after each answer, by one thread at a time.
        kept_in: Where replies are kept, for the message at the budget's end.
    """

    def __init__(self, terms: Terms, on_progress: OnProgress | None = None, kept_in: str = "the cache") -> None:
        self._terms, self._on_progress, self._kept_in = terms, on_progress, kept_in
        self._changed = threading.Condition()
        self._telling = threading.Lock()
        self._spent, self._reserved = NOTHING, NOTHING
        self._counts = {"requests": 0, "cached": 0, "failed": 0}

    @contextmanager
    def reserved(self, most: Usage) -> Iterator[Booking]:
        """Holds back what a request may cost at most while it is under way, then charges the booking's usage.

        Where only requests that are under way stand between it and the cap, it waits for them: they mostly cost less.

        Raises:
            BudgetError: It might overdraw the budget.
        """
        booking = Booking(most)
        self._reserve(most)
        try:
            yield booking
        finally:
            with self._changed:
                self._reserved -= most
                self._spent += booking.usage
                self._changed.notify_all()

    def count(self, what: Literal["requests", "cached", "failed"]) -> None:
        """Notes how a request ended, and tells the caller's callback."""
        with self._changed:
            self._counts[what] += 1
        if self._on_progress is not None:
            with self._telling:
                self._on_progress(self.spending())

    def charge(self, usage: Usage) -> None:
        """Adds what was used without a reservation."""
        with self._changed:
            self._spent += usage

    def spending(self) -> Spending:
        """The totals so far."""
        with self._changed:
            spent = self._spent
            return Spending(
                **self._counts,
                prompt_tokens=spent.prompt,
                completion_tokens=spent.completion,
                cost=self._terms.cost(spent),
            )

    def _reserve(self, most: Usage) -> None:
        with self._changed:
            while not self._terms.allow(self._spent + self._reserved + most):
                if not self._terms.allow(self._spent + most) or self._reserved == NOTHING:
                    raise BudgetError(self._refusal(most))
                self._changed.wait()
            self._reserved += most

    def _refusal(self, most: Usage) -> str:
        terms, spent = self._terms, self._spent
        parts = []
        if terms.max_cost is not None:
            cost, more = terms.cost(spent), terms.cost(most)
            parts.append(
                f"{cost:.4f} of max_cost={terms.max_cost:g} is spent and the next request may cost {more:.4f}"
            )
        if terms.max_tokens is not None:
            parts.append(
                f"{spent.total} tokens of max_tokens_total={terms.max_tokens} are spent and the next request may take "
                f"{most.total}"
            )
        return (
            f"a judge asks nothing that might overdraw its budget: {'; '.join(parts)}. What was judged is kept in "
            f"{self._kept_in} and costs nothing again: raise the cap and run the same once more to go on from here"
        )
