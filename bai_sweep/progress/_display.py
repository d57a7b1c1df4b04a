"""Shows a study's progress from a thread of its own, on a terminal as a live table, elsewhere as plain lines."""

from __future__ import annotations

import logging
import threading
from contextlib import AbstractContextManager
from pathlib import Path
from types import TracebackType
from typing import final

from rich.console import Console
from rich.live import Live

from bai_sweep.progress._plain import PlainLines
from bai_sweep.progress._table import render
from bai_sweep.progress._watch import Watch

log = logging.getLogger(__name__)

POLL = 0.5  # seconds between two looks at the files


@final
class StudyDisplay(AbstractContextManager["StudyDisplay"]):
    """The display of the study in `folder` (its trials are `trials/*/progress.json`) while the block lasts.

    It only reads: its own trouble is a line in the log, and exceptions of the block pass through untouched.

    Args:
        folder: the study's.
        name: the study's.
        total: trials to finish, None if open.
        console: standard error unless given.
        heading: whether the study has a line of its own.
    """

    def __init__(
        self,
        folder: Path,
        name: str,
        total: int | None,
        console: Console | None = None,
        *,
        heading: bool = True,
    ) -> None:
        self._console = console or Console(stderr=True)
        self._name, self._heading = name, heading
        self._watch = Watch(folder, total)
        self._lines = PlainLines(name, heading, earlier=self._watch.look())
        self._stop = threading.Event()
        self._live: Live | None = None
        self._thread = threading.Thread(target=self._work, name="progress", daemon=True)

    def __enter__(self) -> StudyDisplay:
        if self._console.is_terminal and not self._console.is_dumb_terminal:
            self._live = Live(console=self._console, auto_refresh=False, transient=True)
            self._live.start()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        try:
            self._thread.join(timeout=5.0)
        finally:  # also when a second Ctrl-C ends the wait: the cursor has to come back
            if self._live:
                self._live.stop()

    def _work(self) -> None:
        try:
            while not self._stop.wait(POLL):
                self._show()
            self._show()
        except Exception:
            log.exception("the progress display has ended; the study goes on")

    def _show(self) -> None:
        snapshot = self._watch.look()
        for line in self._lines.ends(snapshot) if self._live else self._lines.news(snapshot):
            self._console.print(line, markup=False, highlight=False, soft_wrap=True)
        if self._live:
            self._live.update(render(self._name, snapshot, self._heading), refresh=True)


def TrialDisplay(folder: Path, console: Console | None = None) -> StudyDisplay:  # noqa: N802 - the narrower display
    """The display of a single trial whose `progress.json` stands in `folder`."""
    return StudyDisplay(folder, folder.name, 1, console, heading=False)
