"""What scoring may need at run time: a judge, a sandbox, threads that wait for both.

lm-eval calls a task's `process_results(doc, results)` with nothing else, so what a run provides is held in a context
variable, set by `using` for the time of an evaluation.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import ContextVar, copy_context
from dataclasses import dataclass, field
from functools import cached_property
from typing import ParamSpec

from bai_sweep.judging import Judge
from bai_sweep.records import UserError
from bai_sweep.sandbox import Sandbox, open_sandbox
from bai_sweep.scoring._item import Item

P = ParamSpec("P")


@dataclass
class Resources:
    """A run's judge, the isolation it asks of the sandbox, and how many items are scored at once."""

    judge: Judge | None = None
    isolation: str = "auto"
    threads: int = 1
    _opened: list[ThreadPoolExecutor] = field(default_factory=list, repr=False)

    @cached_property
    def sandbox(self) -> Sandbox:
        """Opened when it is first used.

        Raises:
            UserError: The host has no isolation of this level.
        """
        return open_sandbox(self.isolation)

    @cached_property
    def pool(self) -> ThreadPoolExecutor:
        """The threads that `submit` uses."""
        pool = ThreadPoolExecutor(self.threads, thread_name_prefix="scoring")
        self._opened.append(pool)
        return pool

    def close(self) -> None:
        """Drops what has not begun and waits for the rest."""
        for pool in self._opened:
            pool.shutdown(cancel_futures=True)


_current: ContextVar[Resources | None] = ContextVar("bai_sweep_scoring", default=None)


def resources() -> Resources:
    """Those of the evaluation that runs; outside of one (under lm-eval's own command), no judge and one thread."""
    current = _current.get()
    if current is None:
        current = Resources()
        _current.set(current)
    return current


def required_judge(benchmark: str, otherwise: str) -> Judge:
    """The judge of the evaluation that runs.

    Args:
        benchmark: What needs it.
        otherwise: What a user without a judge can do.

    Raises:
        UserError: There is none.
    """
    judge = resources().judge
    if judge is None:
        raise UserError(
            f"{benchmark} needs a judge to read the responses, and there is none; set judge=openai, judge=local or "
            f"judge=recorded, or {otherwise}"
        )
    return judge


@contextmanager
def using(provided: Resources) -> Iterator[Resources]:
    """Provides these to all scoring within the block."""
    token = _current.set(provided)
    try:
        yield provided
    finally:
        _current.reset(token)
        provided.close()


def submit(function: Callable[P, Item], *args: P.args, **kwargs: P.kwargs) -> Future[Item]:
    """Scores an item in the background: a judge's answer or a program's run, of which several go on at once."""
    pool = resources().pool  # the copied context then holds the same resources in its thread
    return pool.submit(lambda context: context.run(function, *args, **kwargs), copy_context())
