"""When to stop asking: a judge that cannot be used would otherwise score every item as if it had been judged."""

from __future__ import annotations

import threading

from bai_sweep.judging._records import JudgeError
from bai_sweep.records import UserError


class Patience:
    """Counts requests in a row without an answer. Thread-safe.

    Args:
        limit: How many end the asking; None: never.
    """

    def __init__(self, limit: int | None) -> None:
        self._limit = limit
        self._lock = threading.Lock()
        self._in_a_row = 0
        self._ended: str | None = None

    def check(self) -> None:
        """Raises what ended the asking, if anything did.

        Raises:
            UserError: The judge has been given up.
        """
        if self._ended is not None:
            raise UserError(self._ended)

    def answered(self) -> None:
        """An answer came."""
        with self._lock:
            self._in_a_row = 0

    def failed(self, error: JudgeError | UserError) -> None:
        """None came; a UserError is the fault of every request and ends the asking at once."""
        with self._lock:
            self._in_a_row += 1
            if isinstance(error, UserError):
                self._ended = self._ended or str(error)
            elif self._limit is not None and self._in_a_row >= self._limit:
                self._ended = self._ended or (
                    f"judge.give_up_after={self._limit} requests in a row had no answer, and items without a verdict "
                    f"would pass for bad ones; the last one: {error}"
                )
