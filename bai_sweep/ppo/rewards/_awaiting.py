"""Results of async functions, awaited all at the same time."""

from __future__ import annotations

import asyncio
import inspect
import weakref
from collections.abc import Mapping
from contextlib import suppress
from threading import Thread
from typing import Any, final

PATIENCE = 5.0
"""Seconds that a cancelled function has to clean up."""


@final
class EventLoop:
    """An event loop on a thread of its own, which starts when it is first needed.

    It is the same loop at every step, as HTTP clients keep connections that belong to a loop; and it is no caller's
    loop, so it works inside a notebook too.
    """

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._finalizer: weakref.finalize[..., Any] | None = None

    def gather(self, waiting: Mapping[str, Any]) -> dict[str, Any]:
        """Awaits them all; the first error, or an interrupt, ends the wait and cancels the others."""

        async def gathered() -> list[Any]:
            return await asyncio.gather(*waiting.values())

        try:
            results = asyncio.run_coroutine_threadsafe(gathered(), self._started()).result()
        except BaseException:
            self.close()
            raise
        return dict(zip(waiting, results, strict=True))

    def close(self) -> None:
        """Cancels what is under way and stops the thread, if there is one."""
        if self._finalizer is not None:
            self._finalizer()
        self._loop = self._finalizer = None

    def _started(self) -> asyncio.AbstractEventLoop:
        if self._loop is None:
            self._loop = asyncio.new_event_loop()
            thread = Thread(target=self._loop.run_forever, name="rewards", daemon=True)
            thread.start()
            self._finalizer = weakref.finalize(self, _stop, self._loop, thread)
        return self._loop


def _stop(loop: asyncio.AbstractEventLoop, thread: Thread) -> None:
    with suppress(TimeoutError):
        asyncio.run_coroutine_threadsafe(_cancel_all(), loop).result(PATIENCE)
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()


async def _cancel_all() -> None:
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)


def awaited(given: Mapping[str, Any], loop: EventLoop) -> dict[str, Any]:
    """Values as they are, and what the awaitable ones among them give."""
    waiting = {name: value for name, value in given.items() if inspect.isawaitable(value)}
    return {**given, **loop.gather(waiting)} if waiting else dict(given)
