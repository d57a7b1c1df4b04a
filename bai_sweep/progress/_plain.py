"""The display where there is no terminal: a line per change of stage and end, and a heartbeat now and then."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import final

from bai_sweep.progress._file import Progress
from bai_sweep.progress._table import clock, steps, study_line
from bai_sweep.progress._watch import Snapshot

HEARTBEAT = 15.0  # seconds between two lines of one trial within a stage


@final
class PlainLines:
    """Remembers what was said, to say only what is new."""

    def __init__(self, name: str, heading: bool, earlier: Snapshot) -> None:
        """What was over in `earlier` is in the study's line only."""
        self._name, self._heading = name, heading
        self._stages: dict[int, tuple[float, str]] = {}
        self._over = {trial.number: trial.started for trial in earlier.over}
        self._spoken: dict[int, float] = {}
        self._begun = False

    def ends(self, snapshot: Snapshot) -> list[str]:
        """A line for each trial that is over since the last look."""
        new = [trial for trial in snapshot.over if self._over.get(trial.number) != trial.started]
        self._over |= {trial.number: trial.started for trial in new}
        return [f"trial {trial.number} {trial.name}: {trial.state} in {clock(trial.elapsed)}" for trial in new]

    def news(self, snapshot: Snapshot) -> Iterator[str]:
        """The lines to print for a new look at the study."""
        ended = self.ends(snapshot)
        yield from ended
        for trial in snapshot.running:
            if line := self._running(trial):
                yield line
        if self._heading and (ended or not self._begun):
            yield f"study {self._name}: {study_line(snapshot)}"
        self._begun = True

    def _running(self, trial: Progress) -> str | None:
        now, stage = time.monotonic(), (trial.started, trial.stage)
        changed = self._stages.get(trial.number) != stage
        if not trial.stage or (not changed and now - self._spoken[trial.number] < HEARTBEAT):
            return None
        self._stages[trial.number], self._spoken[trial.number] = stage, now
        eta = f"ETA {clock(trial.stage_eta)}" if trial.stage_eta is not None else ""
        parts = [part for part in (steps(trial) if trial.done else "", trial.note, eta) if part]
        return f"trial {trial.number} {trial.name}: {trial.stage} {'  '.join(parts)}".rstrip()
