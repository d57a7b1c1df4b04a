"""A progress bar on standard error; plain lines where that is no terminal."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import Any, Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

PAUSE = 10.0  # seconds between two plain lines


class Progress:
    """How many items are done, and what a judge has cost so far."""

    def __init__(self) -> None:
        console = Console(stderr=True)
        self._bar = Bar(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=console,
            disable=not console.is_terminal,
        )
        self._plain = not console.is_terminal
        self._task = self._bar.add_task("items", total=None)
        self._said, self._last = -PAUSE, (-1, -1)
        self._judged = -PAUSE

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def say(self, text: str) -> None:
        """One line."""
        if self._plain:
            print(text, file=sys.stderr)
        else:
            self._bar.console.print(text)

    def advance(self, done: int, total: int) -> None:
        """Items done, of all."""
        self._bar.update(self._task, completed=done, total=total)
        ends, news = done == total, (done, total) != self._last
        if self._plain and news and (ends or time.monotonic() - self._said >= PAUSE):
            self._said, self._last = time.monotonic(), (done, total)
            print(f"{done}/{total} items", file=sys.stderr)

    def judged(self, spending: Any) -> None:
        """What the judge has answered and cost."""
        text = f"judge: {spending.requests} asked, {spending.cached} known, {spending.cost:.2f} spent"
        self._bar.update(self._task, description=f"{text}; items")
        if self._plain and time.monotonic() - self._judged >= PAUSE:
            self._judged = time.monotonic()
            print(text, file=sys.stderr)
