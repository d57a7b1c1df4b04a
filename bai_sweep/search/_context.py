"""Which trial of which study is running here: what a Hydra task cannot learn from its configuration alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bai_sweep.signals import Monitor


@dataclass(frozen=True)
class TrialOutcome:
    """What a trial's task returns.

    Args:
        metrics: its final figures by name, from which objectives and constraints are read.
        pruned: why it was ended early; None if it was not.
        run_id: MLflow's run of it.
    """

    metrics: Mapping[str, float]
    pruned: str | None = None
    run_id: str | None = None


@dataclass(frozen=True)
class RunningTrial:
    """A trial of a study while it runs.

    Args:
        study: the study's name, with its suffix if it has one.
        number: the trial's identity, from 0; its folder, its MLflow run and Hydra's `job.num` go by it.
        attempt: 1, or more if workers have died with this trial before.
        params: the swept parameters under their config names, with the seed where the study repeats its points.
        folder: where the trial writes, absolute.
        parent_run_id: MLflow's run of the study, None without tracking.
        monitor: hears of each step; its exceptions end the trial.
        screen: items of each benchmark in the cheap evaluation before the full one, None for none.
    """

    study: str
    number: int
    attempt: int
    params: Mapping[str, Any]
    folder: Path
    parent_run_id: str | None
    monitor: Monitor
    screen: int | None = None


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
