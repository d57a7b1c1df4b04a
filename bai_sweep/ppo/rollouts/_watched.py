"""Calls that cannot be interrupted, made where somebody else looks at the clock."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from queue import SimpleQueue
from threading import Thread
from typing import Any, TypeVar, final

T = TypeVar("T")


@final
class WatchedThread:
    """Runs calls one after the other on one daemon thread, while the caller waits for each, but not for ever.

    A collective (NCCL's above all) takes no time limit and cannot be interrupted. A call whose time is over is left
    behind together with its thread; both end with the process and do not hold it back.
    """

    def __init__(self, name: str) -> None:
        self._calls: SimpleQueue[tuple[Callable[[], Any], Future[Any]] | None] = SimpleQueue()
        self._current: Future[Any] = Future()
        self._name, self._closed = name, False
        Thread(target=self._run, name=name, daemon=True).start()

    def call(self, work: Callable[[], T], seconds: float | None) -> T:
        """What `work` returns or raises.

        Raises:
            TimeoutError: It took longer than `seconds`, if these are given.
            RuntimeError: The thread was closed before.
        """
        if self._closed:
            raise RuntimeError(f"the thread {self._name!r} is closed")
        future: Future[T] = Future()
        self._current = future
        self._calls.put((work, future))
        return future.result(timeout=seconds)

    def give_up(self, error: Exception) -> None:
        """Ends the wait for the call under way, with `error`; for any thread that knows it will not succeed."""
        with suppress(InvalidStateError):  # it is over already
            self._current.set_exception(error)

    def close(self) -> None:
        """Ends the thread after the calls under way."""
        self._closed = True
        self._calls.put(None)

    def _run(self) -> None:
        while (call := self._calls.get()) is not None:
            work, future = call
            try:
                result = work()
            except Exception as error:  # noqa: BLE001 - the caller gets it
                with suppress(InvalidStateError):  # the caller gave up before
                    future.set_exception(error)
            else:
                with suppress(InvalidStateError):
                    future.set_result(result)
            del call, work, future  # while this thread waits, it keeps nothing alive
