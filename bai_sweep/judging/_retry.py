"""Which faults of an endpoint pass, and how long to wait before asking again; tenacity does the asking."""

from __future__ import annotations

import email.utils
import math
import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tenacity import RetryCallState, Retrying

_PASSING = (408, 409, 429)


@dataclass(eq=False)
class EndpointError(Exception):
    """One request to an endpoint came to nothing.

    Args:
        text: What happened, without a secret.
        passes: Whether asking again may help.
        of_all: Whether every other request would meet the same.
        billed: Whether the endpoint may have charged for it.
        retry_after: Seconds that the endpoint wants to be left alone.
        status: The HTTP status, where one came.
    """

    text: str
    passes: bool = False
    of_all: bool = False
    billed: bool = False
    retry_after: float | None = None
    status: int | None = None

    def __str__(self) -> str:
        return self.text


def passes(status: int) -> bool:
    """Whether an HTTP status may be another one the next time."""
    return status in _PASSING or status >= 500


def retry_after(headers: Mapping[str, str], *, now: Callable[[], float] = time.time) -> float | None:
    """Seconds that a response asks to wait: `retry-after-ms`, or `Retry-After` in seconds or as a date (RFC 9110)."""
    for name, unit in (("retry-after-ms", 1e-3), ("retry-after", 1.0)):
        try:
            seconds = float(headers.get(name, "")) * unit
        except ValueError:
            continue
        if math.isfinite(seconds):
            return max(0.0, seconds)
    try:
        date = email.utils.parsedate_to_datetime(headers.get("retry-after", ""))
    except ValueError:
        return None
    return max(0.0, date.timestamp() - now())


@dataclass(frozen=True)
class RetryPolicy:
    """Exponential backoff with jitter; what the endpoint asks for goes first.

    Args:
        retries: After the first attempt.
        backoff: Seconds before the first of them, doubled each time.
        longest_wait: Bounds the backoff; an endpoint that wants longer has failed.
        sleep: Waits that many seconds.
        generator: Of the jitter.
    """

    retries: int
    backoff: float
    longest_wait: float
    sleep: Callable[[float], None]
    generator: random.Random

    def retrying(self) -> Retrying:
        """Calls a function until it raises no passing fault; the last fault is raised."""
        from tenacity import Retrying, retry_if_exception, stop_after_attempt

        return Retrying(
            retry=retry_if_exception(self._may_pass),
            stop=stop_after_attempt(self.retries + 1),
            wait=self._wait,
            sleep=self.sleep,
            reraise=True,
        )

    def _may_pass(self, error: BaseException) -> bool:
        return isinstance(error, EndpointError) and error.passes and (error.retry_after or 0.0) <= self.longest_wait

    def _wait(self, state: RetryCallState) -> float:
        fault = state.outcome.exception() if state.outcome else None
        wanted = fault.retry_after if isinstance(fault, EndpointError) else None
        if wanted is not None:
            return wanted + self.generator.uniform(0.0, min(1.0, self.backoff))
        grown = min(self.longest_wait, self.backoff * 2.0 ** min(state.attempt_number - 1, 60))
        return grown * self.generator.uniform(0.5, 1.0)
