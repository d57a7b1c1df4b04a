"""What a judge is asked, what it answers, what that costs, and the two ways in which it fails."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

Message = Mapping[str, str]
"""One of a conversation: `role` and `content`."""


class JudgeError(RuntimeError):
    """A judge gave no answer to one request: that item has no verdict, the others go on."""


class BudgetError(RuntimeError):
    """The cap in tokens or money is reached: nothing more is asked, the benchmark ends."""


@dataclass(frozen=True)
class Reply:
    """A judge's answer to one request.

    Args:
        text: What it said, without a thought where the judge's configuration has `think_end`.
        prompt_tokens: As the judge counted them; of a cached reply, as it counted them then.
        completion_tokens: Likewise, thinking included.
        cached: Whether it was read from the cache or a recording, and so cost nothing.
        model: The model that answered, as it named itself.
    """

    text: str
    prompt_tokens: int
    completion_tokens: int
    cached: bool
    model: str


@dataclass(frozen=True)
class Spending:
    """What a judge has done and cost since it was opened.

    Args:
        requests: Answered by the judge itself.
        cached: Answered from the cache or a recording.
        failed: That ended without an answer.
        prompt_tokens: Paid for; cached replies count nothing.
        completion_tokens: Likewise.
        cost: In the currency of the configured prices.
    """

    requests: int = 0
    cached: int = 0
    failed: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost: float = 0.0


OnProgress = Callable[[Spending], None]
"""Called after each request, with the totals so far; never by two threads at once."""


class Judge(Protocol):
    """Answers one conversation at a time; thread-safe and blocking, with limits of its own on concurrency and rate."""

    @property
    def name(self) -> str:
        """That of its configuration, for reports."""

    def ask(
        self, messages: Sequence[Message], *, temperature: float = 0.0, max_tokens: int = 4096, attempt: int = 0
    ) -> Reply:
        """The judge's answer.

        Args:
            messages: The conversation, `role` and `content` each.
            temperature: The protocol's; a judge's configuration may name another.
            max_tokens: Longest answer, likewise.
            attempt: Part of the cache's key: asking again after an unusable answer is a new request.

        Raises:
            JudgeError: No answer after all retries, or a request that the judge refuses.
            BudgetError: The cap in tokens or money is reached.
            UserError: No request will be answered: a refused key, no such model, too many failures in a row.
        """

    def spent(self) -> Spending:
        """The totals so far."""
