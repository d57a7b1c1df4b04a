"""A trial's `progress.json`: small, replaced whole, at most twice a second and at each change of stage."""

from __future__ import annotations

import json
import logging
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Literal, final

log = logging.getLogger(__name__)

PROGRESS = "progress.json"
INTERVAL = 0.5  # seconds between two writes within a stage

State = Literal["running", "done", "failed", "stopped"]


@dataclass(frozen=True)
class Progress:
    """Where a trial stands. Times are seconds since the epoch on the trial's machine; only differences are used."""

    number: int
    name: str
    started: float
    updated: float
    state: State = "running"
    stage: str = ""
    stage_started: float = 0.0
    done: int = 0
    total: int | None = None  # None: the stage does not say how much there is
    note: str = ""

    @property
    def elapsed(self) -> float:
        """Seconds the trial had run at its last sign of life."""
        return self.updated - self.started

    @property
    def stage_eta(self) -> float | None:
        """Seconds its stage still needs at its pace so far, None while unknown."""
        if not self.total or not self.done:
            return None
        return (self.updated - self.stage_started) / self.done * max(self.total - self.done, 0)


@final
class ProgressFile:
    """Writes a trial's progress. Cheap enough to be called at every step; a full disk costs the display only."""

    def __init__(self, folder: Path, number: int, name: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._path = folder / PROGRESS
        now = time.time()
        self._state = Progress(number, name, started=now, updated=now)
        self._next_write = 0.0
        self._warned = False
        self._write()

    def stage(self, name: str, total: int | None = None) -> None:
        """A stage begins; `total` is the number of its steps, if it is known."""
        now = time.time()
        self._state = replace(self._state, stage=name, stage_started=now, updated=now, done=0, total=total, note="")
        self._write()

    def advance(self, done: int, note: str = "", *, total: int | None = None) -> None:
        """`done` of the stage's steps are done; `total` if it is known only now; `note` is shown beside the bar."""
        total = self._state.total if total is None else total
        self._state = replace(self._state, done=done, total=total, note=note, updated=time.time())
        if time.monotonic() >= self._next_write:
            self._write()

    def finish(self, state: Literal["done", "failed", "stopped"] = "done") -> None:
        """The trial is over."""
        self._state = replace(self._state, state=state, updated=time.time())
        self._write()

    def _write(self) -> None:
        partial = self._path.with_suffix(".json.partial")
        try:
            partial.write_text(json.dumps(asdict(self._state)), encoding="utf-8")
            partial.replace(self._path)
        except OSError as error:
            level = logging.DEBUG if self._warned else logging.WARNING
            log.log(level, "no progress display for trial %d: %s", self._state.number, error)
            self._warned = True
        self._next_write = time.monotonic() + INTERVAL


def read_progress(path: Path) -> Progress | None:
    """The progress in a file; None if it is gone or was written by another version."""
    try:
        return Progress(**json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None
