"""Which trial of which study is running here: what a Hydra task cannot learn from its configuration alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class RunningTrial:
    """A trial of a study while it runs.

    Args:
        study: the study's name, with its suffix if it has one.
        number: the trial's identity, from 0; its folder, its MLflow run and Hydra's `job.num` go by it.
        attempt: 1, or more if workers have died with this trial before.
        params: the swept parameters under their config names.
        folder: where the trial writes, absolute.
        objective: name of the metric whose value the task returns.
        parent_run_id: MLflow's run of the study, None without tracking.
    """

    study: str
    number: int
    attempt: int
    params: Mapping[str, Any]
    folder: Path
    objective: str
    parent_run_id: str | None


_CURRENT: ContextVar[RunningTrial | None] = ContextVar("bai_sweep_trial", default=None)


def current_trial() -> RunningTrial | None:
    """The running trial of a study; None for a single trial started without `-m`."""
    return _CURRENT.get()


@contextmanager
def running(trial: RunningTrial) -> Iterator[None]:
    """Makes `trial` the current one."""
    token = _CURRENT.set(trial)
    try:
        yield
    finally:
        _CURRENT.reset(token)
