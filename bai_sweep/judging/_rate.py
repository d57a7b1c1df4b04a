"""How fast requests may begin: so many a minute, so many tokens a minute, and not while the server wants peace."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

MINUTE = 60.0


class RateLimit:
    """Spaces requests out. Thread-safe; each `wait` takes its turn in the order of the calls.

    A bucket that holds no more than the request at hand: unused minutes are not saved up, so that no minute ever has
    more than its share, and a request is followed by as much silence as it takes to pay for it.

    Args:
        requests: A minute; None: no limit.
        tokens: A minute; None: no limit.
        clock: Seconds that only ever grow.
        sleep: Waits that many.
    """

    def __init__(
        self,
        requests: float | None,
        tokens: float | None,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._per_request = MINUTE / requests if requests else 0.0
        self._per_token = MINUTE / tokens if tokens else 0.0
        self._clock, self._sleep = clock, sleep
        self._lock = threading.Lock()
        self._requests_free = self._tokens_free = self._peace = clock()

    def wait(self, tokens: int) -> None:
        """Returns when a request of about so many tokens may begin."""
        with self._lock:
            start = max(self._clock(), self._requests_free, self._tokens_free)
            self._requests_free = start + self._per_request
            self._tokens_free = start + tokens * self._per_token
        while (left := max(start, self._peace) - self._clock()) > 0.0:
            self._sleep(left)

    def give_back(self, tokens: int) -> None:
        """Corrects a `wait` whose request took so many tokens fewer than it said (or more, if negative)."""
        with self._lock:
            self._tokens_free -= tokens * self._per_token

    def hold(self, seconds: float) -> None:
        """Lets nothing begin for a while: the server has asked for it."""
        with self._lock:
            self._peace = max(self._peace, self._clock() + seconds)
