"""The judge that benchmarks see: whatever answers, behind a cache, an account and the end of patience."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from typing import Any, Protocol, final

from bai_sweep.judging._budget import Ledger
from bai_sweep.judging._cache import ReplyCache
from bai_sweep.judging._patience import Patience
from bai_sweep.judging._records import JudgeError, Message, Reply, Spending
from bai_sweep.judging._request import Answer, Request, plain_messages
from bai_sweep.records import UserError


class Backend(Protocol):
    """What answers requests that have no reply yet; blocking, and used by many threads at once."""

    @property
    def identity(self) -> Mapping[str, Any]:
        """Kind, `model`, and every setting that shapes an answer: plain values, part of each reply's key."""

    def request(self, messages: Sequence[Message], temperature: float, max_tokens: int, attempt: int) -> Request:
        """A request, with the configuration's settings in place of the protocol's where it has any."""

    def answer(self, request: Request) -> Answer:
        """Answers it, and charges what that cost to the ledger.

        Raises:
            JudgeError: This request has no answer.
            BudgetError: The budget is spent.
            UserError: No request will have one.
        """


@final
class KeptJudge:
    """A judge whose every reply is kept: a request is answered once, also when several threads make it at once.

    Args:
        name: That of its configuration.
        backend: Answers what is not kept yet.
        cache: Keeps replies.
        ledger: Counts, and caps the spending.
        patience: Ends the asking where it is of no use.
    """

    def __init__(self, name: str, backend: Backend, cache: ReplyCache, ledger: Ledger, patience: Patience) -> None:
        self.name = name
        self._backend, self._cache, self._ledger, self._patience = backend, cache, ledger, patience
        self._lock = threading.Lock()
        self._under_way: dict[str, Future[Answer]] = {}

    def ask(
        self, messages: Sequence[Message], *, temperature: float = 0.0, max_tokens: int = 4096, attempt: int = 0
    ) -> Reply:
        """See `Judge.ask`.

        Raises:
            JudgeError: No answer to this request.
            BudgetError: The budget is spent.
            UserError: The judge cannot be used at all: a refused key, no such model, an endpoint that is down.
        """
        request = self._backend.request(plain_messages(messages), temperature, max_tokens, attempt)
        key = request.key(self._backend.identity)
        with self._lock:
            known: Answer | Future[Answer] | None = self._cache.find(key) or self._under_way.get(key)
            if known is None:
                mine = self._under_way[key] = Future()
        if known is None:
            return _reply(self._ask(key, request, mine), cached=False)
        answer = known.result() if isinstance(known, Future) else known
        self._ledger.count("cached")
        return _reply(answer, cached=True)

    def spent(self) -> Spending:
        """The totals so far."""
        return self._ledger.spending()

    def _ask(self, key: str, request: Request, mine: Future[Answer]) -> Answer:
        """Has the backend answer, and tells whoever waits for the same."""
        try:
            answer = self._answer(request)
            self._cache.keep(key, request, str(self._backend.identity["model"]), answer)
            mine.set_result(answer)
        except BaseException as error:
            mine.set_exception(error)
            raise
        finally:
            with self._lock:
                del self._under_way[key]
        self._ledger.count("requests")
        return answer

    def _answer(self, request: Request) -> Answer:
        self._patience.check()
        try:
            answer = self._backend.answer(request)
        except (JudgeError, UserError) as error:
            self._patience.failed(error)
            self._ledger.count("failed")
            raise
        self._patience.answered()
        return answer


def _reply(answer: Answer, *, cached: bool) -> Reply:
    return Reply(answer.text, answer.prompt_tokens, answer.completion_tokens, cached, answer.model)
