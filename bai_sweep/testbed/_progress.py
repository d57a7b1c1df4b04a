"""One display for the build: a rich bar for each stage on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from types import TracebackType

from rich import progress
from rich.console import Console

LINES_PER_STAGE = 10


class Progress:
    """Shows the steps and the loss of stages that run one after the other.

    Enter it as a context, then call `stage` before each stage and what it returns after each step.
    """

    def __init__(self, totals: Mapping[str, int], console: Console | None = None) -> None:
        self._totals = dict(totals)
        self._console = console or Console()
        self._begin = time.monotonic()
        self._bars = progress.Progress(
            "{task.description:10}",
            progress.BarColumn(),
            progress.MofNCompleteColumn(),
            "loss {task.fields[loss]:.3f}",
            progress.TimeElapsedColumn(),
            progress.TimeRemainingColumn(),
            console=self._console,
            disable=not self._console.is_terminal,
        )

    def __enter__(self) -> Progress:
        self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bars.stop()

    def stage(self, name: str) -> Callable[[float], None]:
        """Begins a stage; the function returned reports one step with its loss."""
        total, done = self._totals[name], 0
        task = self._bars.add_task(name, total=total, loss=float("nan"))

        def on_step(loss: float) -> None:
            nonlocal done
            done += 1
            self._bars.update(task, advance=1, loss=loss)
            if not self._console.is_terminal and done % max(1, total // LINES_PER_STAGE) == 0:
                elapsed = time.monotonic() - self._begin
                self._console.print(f"{name}: step {done} of {total}, loss {loss:.3f}, {elapsed:.0f} s")

        return on_step
