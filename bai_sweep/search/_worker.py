"""The loop of a worker: take a trial, run it, tell, until the study owes nothing more.

A worker is a plain function of a picklable `WorkerJob`; whoever starts it (this process, a supervisor, a Hydra
launcher) decides where it runs.
"""

from __future__ import annotations

import logging
import math
import os
import signal
import threading
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from numbers import Real
from pathlib import Path
from types import FrameType
from typing import Any

import optuna
from hydra.core.singleton import Singleton
from hydra.core.utils import setup_globals
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial

from bai_sweep import merging
from bai_sweep.search._context import RunningTrial
from bai_sweep.search._job import TrialFailedError, has_result, run_trial_job, trial_folder
from bai_sweep.search._lease import Lease
from bai_sweep.search._queue import ATTEMPT, NUMBER, Failure, TrialQueue
from bai_sweep.search._sampler import make_sampler
from bai_sweep.search._settings import SearchSettings
from bai_sweep.search._space import Space
from bai_sweep.search._storage import StorageAddress

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class WorkerJob:
    """Everything a worker needs, picklable by cloudpickle."""

    study: str
    address: StorageAddress
    space: Space
    settings: SearchSettings
    config: DictConfig
    context: HydraContext
    task: TaskFunction
    parent_run_id: str | None
    home: int  # process id of the study's own process
    hydra_state: Any  # Hydra's singletons, for a worker in another process

    def open_queue(self) -> TrialQueue:
        """Connects to the study."""
        storage = self.address.open()
        study = optuna.load_study(study_name=self.study, storage=storage, pruner=optuna.pruners.NopPruner())
        return make_queue(study, storage, self.settings, self.config)


def make_queue(study: optuna.Study, storage: BaseStorage, settings: SearchSettings, config: DictConfig) -> TrialQueue:
    """The queue of a study with this configuration."""
    return TrialQueue(
        study,
        storage,
        max_attempts=settings.max_attempts,
        lease_seconds=settings.lease_seconds,
        has_result=partial(has_result, config),
    )


def work(job: WorkerJob) -> None:
    """Runs trials until none is owed.

    Raises:
        KeyboardInterrupt: after the running trial was given back to the queue.
    """
    if os.getpid() != job.home:
        setup_globals()
        Singleton.set_state(job.hydra_state)
    queue = job.open_queue()
    record_failures(job.config, queue.recover())
    try:
        _run_all(job, queue)
    finally:
        merging.release()  # a launcher may keep this process for other work


def _run_all(job: WorkerJob, queue: TrialQueue) -> None:
    # Idle workers stay: the trials that others run may come back.
    pause = min(1.0, job.settings.lease_seconds / 3)
    while True:
        claimed = queue.claim()
        if claimed is not None:
            _run(job, queue, claimed)
        elif queue.survey().is_over:
            return
        else:
            time.sleep(pause)
            record_failures(job.config, queue.recover())


def record_failures(config: DictConfig, failures: list[Failure]) -> None:
    """Leaves `failure.txt` in the folder of each trial that has failed for good."""
    for failure in failures:
        _write_failure(trial_folder(config, failure.number), failure)


def forget_failures(config: DictConfig, numbers: list[int]) -> None:
    """Removes `failure.txt` of trials that run again."""
    for number in numbers:
        (trial_folder(config, number) / "failure.txt").unlink(missing_ok=True)


def _write_failure(folder: Path, failure: Failure) -> None:
    """The reason on the first line, the traceback below."""
    _log.error("trial %d failed: %s", failure.number, failure.reason)
    folder.mkdir(parents=True, exist_ok=True)
    text = f"{failure.reason}\n\n{failure.traceback}".rstrip() + "\n"
    (folder / "failure.txt").write_text(text, encoding="utf-8")


def _run(job: WorkerJob, queue: TrialQueue, claimed: FrozenTrial) -> None:
    number = claimed.user_attrs[NUMBER]
    failure: Failure | None = None
    kept = True
    try:
        with Lease(queue.storage, claimed._trial_id, job.settings.lease_seconds):
            try:
                queue.study.sampler = make_sampler(job.settings.sampler, number)
                trial = optuna.trial.Trial(queue.study, claimed._trial_id)
                value = _run_point(job, trial, claimed)
            except TrialFailedError as error:
                failure = Failure(number, error.reason, error.trace)
            except Exception as error:  # noqa: BLE001 - one trial's fault is not the study's
                failure = Failure(number, f"{type(error).__name__}: {error}", traceback.format_exc())
        if failure is None and math.isnan(value) and not job.settings.is_grid:
            failure = Failure(
                number, f"the objective {job.settings.objective} is not a number, and the sampler needs one"
            )
        if failure is not None:
            kept = queue.fail(claimed, failure)
        elif math.isnan(value):
            kept = queue.complete_unscored(claimed)
        else:
            kept = queue.complete(trial, value)
    except KeyboardInterrupt:
        queue.interrupt(claimed)
        raise
    if not kept:
        _log.warning("trial %d ran here after others had given it up; this result is dropped", number)
    elif failure is not None:
        _write_failure(trial_folder(job.config, number), failure)


def _run_point(job: WorkerJob, trial: optuna.Trial, claimed: FrozenTrial) -> float:
    number = claimed.user_attrs[NUMBER]
    point = {d.key: d.suggest(trial) for d in job.space.dimensions}
    running = RunningTrial(
        study=job.study,
        number=number,
        attempt=claimed.user_attrs[ATTEMPT],
        params=point,
        folder=trial_folder(job.config, number),
        objective=job.settings.objective,
        parent_run_id=job.parent_run_id,
    )
    overrides = [*job.space.overrides(point), f"study={job.study}"]
    value = run_trial_job(running, overrides, config=job.config, context=job.context, task=job.task)
    if not isinstance(value, Real):
        raise TypeError(f"a trial returns its objective, a number; this one returned {value!r}")
    return float(value)


@contextmanager
def terminated_as_interrupted() -> Iterator[None]:
    """Within the body SIGTERM acts like Ctrl-C, so that the running trial is given back to the queue."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(_signal: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
