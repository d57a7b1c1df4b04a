"""An OpenAI-compatible endpoint as a judge's backend: one HTTP request for each attempt, through the openai SDK."""

from __future__ import annotations

import json
import logging
import random
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Any, final

from bai_sweep.config._judge import OpenAIJudge
from bai_sweep.judging._budget import NOTHING, Booking, Ledger, Usage
from bai_sweep.judging._http import Exchange
from bai_sweep.judging._rate import RateLimit
from bai_sweep.judging._records import JudgeError, Message
from bai_sweep.judging._request import Answer, Request, plain_messages, without_thought
from bai_sweep.judging._retry import EndpointError, RetryPolicy
from bai_sweep.records import UserError

log = logging.getLogger(__name__)

_FRAME = 16  # tokens that a chat template puts around a message, at most


@final
class Endpoint:
    """Answers requests over HTTP within a rate, a number at once, and a budget. Thread-safe.

    Args:
        config: Of the judge.
        ledger: Charged for each attempt.
        clock: Seconds that only ever grow.
        sleep: Waits that many.
        seed: Of the jitter.
    """

    def __init__(
        self,
        config: OpenAIJudge,
        ledger: Ledger,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
        seed: int | None = None,
    ) -> None:
        self._config, self._ledger = config, ledger
        self._slots = threading.BoundedSemaphore(config.concurrency)
        self._rate = RateLimit(config.requests_per_minute, config.tokens_per_minute, clock=clock, sleep=sleep)
        self._policy = RetryPolicy(config.retries, config.backoff, config.longest_wait, sleep, random.Random(seed))
        self._exchange = Exchange(config, clock=clock)
        self._uncounted = threading.Event()

    @cached_property
    def identity(self) -> Mapping[str, Any]:
        """Who answers: the model, and what is asked of it besides the request. Not where: a server may move."""
        config = self._config
        return {
            "kind": config.kind,
            "model": config.model,
            "extra_body": config.extra_body,
            "think_end": config.think_end,
        }

    def request(self, messages: Sequence[Message], temperature: float, max_tokens: int, attempt: int) -> Request:
        """A request with the configuration's settings in place of the protocol's."""
        own = self._config.temperature
        chosen = None if own == "omit" else temperature if own is None else own
        return Request(plain_messages(messages), chosen, self._config.max_tokens or max_tokens, attempt)

    def answer(self, request: Request) -> Answer:
        """Asks until there is an answer or no hope of one.

        Raises:
            JudgeError: This request has none.
            BudgetError: It might overdraw the budget.
            UserError: No request will have one.
        """
        retrying = self._policy.retrying()
        try:
            return retrying(self._attempt, request)
        except EndpointError as error:
            fault, attempts = error, retrying.statistics.get("attempt_number", 1)
        # outside of the handler: what hangs on a fault may hold what the endpoint sent, unmasked
        if fault.of_all:
            raise UserError(fault.text)
        tried = f" after {attempts} attempts" if attempts > 1 else ""
        raise JudgeError(f"no answer to {request.short()}{tried}: {fault.text}")

    def _attempt(self, request: Request) -> Answer:
        most = upper_bound(request, self._config.extra_body)
        guess = most.prompt // 4 + request.max_tokens  # for the rate: about four bytes of text are a token
        with self._slots, self._ledger.reserved(most) as booking:
            self._rate.wait(guess)
            try:
                answer = self._asked(request, booking)
            except EndpointError as fault:
                if not fault.billed:
                    booking.usage = NOTHING
                self._rate.give_back(guess)
                if fault.retry_after:
                    self._rate.hold(min(fault.retry_after, self._config.longest_wait))
                log.info("judge: %s", fault)
                raise
            self._rate.give_back(guess - booking.usage.total)
            return answer

    def _asked(self, request: Request, booking: Booking) -> Answer:
        completion = self._exchange.completion(request)
        if completion.usage is None:
            if not self._uncounted.is_set():
                self._uncounted.set()
                log.warning("the judge counts no tokens: every request is charged as the most it may have taken")
        else:
            booking.usage = Usage(completion.usage.prompt_tokens, completion.usage.completion_tokens)
        said, usage = completion.choices[0], booking.usage
        text = without_thought(
            said.message.content or "", self._config.think_end, truncated=said.finish_reason == "length"
        )
        return Answer(text, usage.prompt, usage.completion, completion.model or self._config.model)


def upper_bound(request: Request, extra_body: Mapping[str, Any]) -> Usage:
    """The most that a request can take: byte-level tokenizers make no more tokens of a text than it has bytes."""
    texts = sum(len(text.encode()) + _FRAME for message in request.messages for text in message.values())
    return Usage(texts + len(json.dumps(extra_body)) + _FRAME, request.max_tokens)
