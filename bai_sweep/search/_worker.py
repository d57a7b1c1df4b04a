"""The loop of a worker: take a trial, run it, tell, until the study owes nothing more.

A worker is a plain function of a picklable `WorkerJob`; whoever starts it (this process, a supervisor, a Hydra
launcher) decides where it runs.
"""

from __future__ import annotations

import logging
import math
import os
import threading
import time
import traceback
from dataclasses import dataclass
from functools import partial
from numbers import Real
from pathlib import Path
from typing import Any

import optuna
from hydra.core.singleton import Singleton
from hydra.core.utils import setup_globals
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig
from optuna.exceptions import UpdateFinishedTrialError
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial

from bai_sweep import merging
from bai_sweep.config import parse
from bai_sweep.records import TrialResult
from bai_sweep.search._compose import Composer
from bai_sweep.search._context import RunningTrial, TrialOutcome
from bai_sweep.search._grid import planned_points
from bai_sweep.search._handover import hand_over
from bai_sweep.search._job import Job, TrialFailedError, has_result, run_trial_job, trial_folder
from bai_sweep.search._lease import Lease
from bai_sweep.search._monitor import TrialMonitor
from bai_sweep.search._queue import ATTEMPT, POINT, Failure, QueueRules, TrialQueue
from bai_sweep.search._sampler import make_pruner, make_sampler
from bai_sweep.search._settings import SearchSettings
from bai_sweep.search._space import Space
from bai_sweep.search._stopping import stop_is_asked
from bai_sweep.search._storage import StorageAddress
from bai_sweep.search._view import NUMBER, PointView
from bai_sweep.signals import StopRequested

_FAR = 1e9  # a violation without end, as samplers compute with it

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class WorkerJob:
    """Everything a worker needs, picklable by cloudpickle."""

    study: str
    address: StorageAddress
    space: Space
    seeds: int
    settings: SearchSettings
    config: DictConfig
    context: HydraContext
    task: TaskFunction
    parent_run_id: str | None
    home: int  # process id of the study's own process
    hydra_state: Any  # Hydra's singletons, for a worker in another process
    hands_over: bool = False  # its folder is not the study's own

    def open_queue(self) -> TrialQueue:
        """Connects to the study."""
        storage = self.address.open()
        study = optuna.load_study(study_name=self.study, storage=storage, pruner=optuna.pruners.NopPruner())
        return make_queue(
            study, storage, settings=self.settings, space=self.space, seeds=self.seeds, config=self.config
        )


def make_queue(
    study: optuna.Study,
    storage: BaseStorage,
    *,
    settings: SearchSettings,
    space: Space,
    seeds: int,
    config: DictConfig,
) -> TrialQueue:
    """The queue of a study with this configuration."""
    rules = QueueRules(
        seeds=seeds,
        max_attempts=settings.max_attempts,
        retries=settings.retries,
        max_failures=settings.max_failures,
        lease_seconds=settings.lease_seconds,
        planned=planned_points(study, space, settings),
        has_result=partial(has_result, config),
    )
    return TrialQueue(study, storage, rules)


def work(job: WorkerJob) -> None:
    """Runs trials until none is owed, or until it is asked to stop."""
    if os.getpid() != job.home:
        setup_globals()
        Singleton.set_state(job.hydra_state)
    worker = _Worker(job)
    record_failures(job.config, worker.queue.recover())
    try:
        worker.run()
    finally:
        merging.release()  # a launcher may keep this process for other work


class _Worker:
    """What a worker keeps between trials."""

    def __init__(self, job: WorkerJob) -> None:
        self.job = job
        self.queue = job.open_queue()
        self.composer = Composer(job.config, job.context.config_loader)
        single = len(job.settings.objective) == 1
        self.pruner = make_pruner(job.settings.pruner) if single else None
        self._stopped = threading.Event()  # the study was, by whoever

    def run(self) -> None:
        # Idle workers stay: the trials that others run may come back.
        pause = min(1.0, self.job.settings.lease_seconds / 3)
        while not self.stops():
            claimed = self.queue.claim()
            if claimed is not None:
                _run(self, claimed)
                continue
            if self.queue.survey().is_over:
                return
            time.sleep(pause)
            record_failures(self.job.config, self.queue.recover())

    def stops(self) -> bool:
        """Whether no further trial is to begin here."""
        return stop_is_asked() or bool(self.queue.stop_reason)

    def look(self) -> None:
        """Whether the study has been stopped; asked every other second while a trial runs."""
        if self.queue.stop_reason:
            self._stopped.set()

    def is_asked_to_stop(self) -> bool:
        """What a running trial asks at its safe points."""
        return stop_is_asked() or self._stopped.is_set()


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


def _run(worker: _Worker, claimed: FrozenTrial) -> None:
    """One trial, from the claim to what becomes of it."""
    queue, job = worker.queue, worker.job
    number = claimed.user_attrs[NUMBER]
    try:
        with Lease(queue.storage, claimed._trial_id, job.settings.lease_seconds, worker.look):
            ended = _outcome(worker, claimed)
        kept = queue.fail(claimed, ended) if isinstance(ended, Failure) else _tell(worker, *ended)
    except StopRequested:
        queue.interrupt(claimed)
        return
    except KeyboardInterrupt:
        queue.interrupt(claimed)
        raise
    if not kept:
        _log.warning("trial %d ran here after others had given it up; this result is dropped", number)
    elif isinstance(ended, Failure) and not queue.is_retried(ended):
        _write_failure(trial_folder(job.config, number), ended)


def _outcome(worker: _Worker, claimed: FrozenTrial) -> tuple[optuna.Trial, TrialOutcome] | Failure:
    number = claimed.user_attrs[NUMBER]
    settings = worker.job.settings
    try:
        study = PointView(worker.queue.study, worker.job.seeds)
        study.sampler = make_sampler(settings.sampler, number // worker.job.seeds)
        trial = optuna.trial.Trial(study, claimed._trial_id)
        outcome = _run_point(worker, trial, claimed)
    except TrialFailedError as error:
        return Failure(number, error.reason, error.trace, error.permanent)
    except Exception as error:  # noqa: BLE001 - one trial's fault is not the study's
        return Failure(number, f"{type(error).__name__}: {error}", traceback.format_exc())
    missing = [name for name in settings.objective if math.isnan(outcome.metrics.get(name, math.nan))]
    if missing and outcome.pruned is None and not settings.is_grid:
        reason = f"the objective {missing[0]} is not a number, and the sampler needs one"
        return Failure(number, reason, permanent=True)
    return trial, outcome


def _run_point(worker: _Worker, trial: optuna.Trial, claimed: FrozenTrial) -> TrialOutcome:
    """Chooses the trial's point and runs it."""
    job, number = worker.job, claimed.user_attrs[NUMBER]
    point = job.space.suggest(trial)
    trial.set_user_attr(POINT, point)
    seed = {"seed": int(job.config.seed) + number % job.seeds} if job.seeds > 1 else {}
    overrides = [*job.space.overrides(point), *(f"{k}={v}" for k, v in seed.items()), f"study={job.study}"]
    monitor = TrialMonitor(
        worker.queue.study,
        claimed._trial_id,
        settings=job.settings,
        pruner=worker.pruner,
        config=lambda: parse(worker.composer.compose(overrides)),
        others=lambda: _finished(trial_folder(job.config, number).parent),
        stop_asked=worker.is_asked_to_stop,
    )
    running = RunningTrial(
        study=job.study,
        number=number,
        attempt=claimed.user_attrs[ATTEMPT],
        params={**point, **seed},
        folder=trial_folder(job.config, number),
        parent_run_id=job.parent_run_id,
        monitor=monitor,
        screen=job.settings.screen,
    )
    returned = run_trial_job(
        running, overrides, config=job.config, composer=worker.composer, job=Job(job.task, job.context)
    )
    return _as_outcome(returned, job.settings)


def _finished(trials: Path) -> list[TrialResult]:
    """The study's finished trials whose results are on this machine."""
    return [TrialResult.load(path.parent) for path in sorted(trials.glob("*/result.json"))]


def _as_outcome(returned: object, settings: SearchSettings) -> TrialOutcome:
    if isinstance(returned, TrialOutcome):
        return returned
    if isinstance(returned, Real) and len(settings.objective) == 1:
        return TrialOutcome({settings.objective[0]: float(returned)})
    raise TypeError(f"a trial returns its objective, a number, or a TrialOutcome; this one returned {returned!r}")


def _tell(worker: _Worker, trial: optuna.Trial, outcome: TrialOutcome) -> bool:
    """Records what a trial gave; False if others took this worker for dead."""
    settings, queue = worker.job.settings, worker.queue
    try:
        for limit in settings.limits:
            trial.set_constraint(limit.metric, min(limit.violation(outcome.metrics), _FAR))
        if outcome.run_id is not None:
            trial.set_user_attr("run_id", outcome.run_id)
        if worker.job.hands_over:
            number = trial.user_attrs[NUMBER]
            hand_over(queue.storage, trial._trial_id, trial_folder(worker.job.config, number))
    except UpdateFinishedTrialError:
        return False
    values = [outcome.metrics.get(name, math.nan) for name in settings.objective]
    if outcome.pruned is not None:
        return queue.end_without_value(trial, outcome.pruned)
    if any(map(math.isnan, values)):
        return queue.end_without_value(trial, "it has no objective")
    return queue.complete(trial, values)
