"""Reads the progress files of a study and sums them up: what runs, what is over, how long the rest takes."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import final

from bai_sweep.progress._file import PROGRESS, Progress, read_progress

SILENT = 60.0  # seconds without a sign of life that are worth a word


@dataclass(frozen=True)
class Snapshot:
    """A study at one moment; `silent` has the seconds since a running trial's last sign of life, if they are many."""

    running: tuple[Progress, ...]
    over: tuple[Progress, ...]
    total: int | None
    elapsed: float
    silent: dict[int, float]

    @property
    def done(self) -> int:
        """Finished trials."""
        return sum(trial.state == "done" for trial in self.over)

    @property
    def failed(self) -> int:
        """Failed trials."""
        return sum(trial.state == "failed" for trial in self.over)

    @property
    def eta(self) -> tuple[float, bool] | None:
        """Seconds to the study's end and whether that is only a lower bound; None while nothing can be said."""
        if self.total is None:
            return None
        lengths = [trial.elapsed for trial in self.over if trial.state == "done"]
        at_least = not lengths
        if at_least:  # the stages to come are not known yet
            lengths = [t.elapsed + t.stage_eta for t in self.running if t.stage_eta is not None]
        if not lengths:
            return None
        length = math.fsum(lengths) / len(lengths)
        waiting = max(self.total - self.done - self.failed - len(self.running), 0)
        rest = waiting * length + math.fsum(max(length - trial.elapsed, 0.0) for trial in self.running)
        return rest / max(len(self.running), 1), at_least


@final
class Watch:
    """Polls a folder. Trials that an earlier session left unfinished do not count until they show life again."""

    def __init__(self, folder: Path, total: int | None) -> None:
        self._folder, self._total = folder, total
        self._begun = time.monotonic()
        self._known: dict[Path, tuple[int, Progress]] = {}
        self._alive: dict[Path, float] = {}
        self._left_behind = {path: trial.updated for path, trial in self._read() if trial.state == "running"}

    def look(self) -> Snapshot:
        """The study now."""
        trials = sorted(self._read(), key=lambda item: item[1].number)
        shown = [(path, trial) for path, trial in trials if self._left_behind.get(path) != trial.updated]
        running = [(path, trial) for path, trial in shown if trial.state == "running"]
        now = time.monotonic()
        ages = {trial.number: now - self._alive[path] for path, trial in running}
        return Snapshot(
            tuple(trial for _, trial in running),
            tuple(trial for _, trial in shown if trial.state != "running"),
            self._total,
            now - self._begun,
            {number: age for number, age in ages.items() if age > SILENT},
        )

    def _read(self) -> Iterator[tuple[Path, Progress]]:
        for path in [self._folder / PROGRESS, *self._folder.glob(f"trials/*/{PROGRESS}")]:
            try:
                stamp = path.stat().st_mtime_ns
            except OSError:
                continue
            known = self._known.get(path)
            if known is None or known[0] != stamp:
                trial = read_progress(path)
                if trial is None:
                    continue
                self._known[path] = known = (stamp, trial)
                self._alive[path] = time.monotonic()
            yield path, known[1]
