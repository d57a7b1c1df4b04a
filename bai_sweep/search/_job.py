"""One trial as a Hydra job: composed, logged and saved in its own folder like any other job of Hydra's."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hydra.core.utils import configure_log
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf, open_dict

from bai_sweep.records import PermanentError
from bai_sweep.search._compose import Composer
from bai_sweep.search._context import RunningTrial, running
from bai_sweep.search._hydra_job import run_hydra_job

_log = logging.getLogger(__name__)


def study_folder(config: DictConfig) -> Path:
    """Where the study of a multirun configuration stands."""
    return Path(str(config.hydra.sweep.dir))


def trial_folder(config: DictConfig, number: int) -> Path:
    """Where trial `number` stands, absolute."""
    before = OmegaConf.to_container(config.hydra.job, resolve=False)
    assert isinstance(before, dict)
    _set_number(config, number)  # and back: a copy of all this takes longer than the rest of a trial that does nothing
    try:
        return (study_folder(config) / str(config.hydra.sweep.subdir)).absolute()
    finally:
        with open_dict(config):
            config.hydra.job.id, config.hydra.job.num = before["id"], before["num"]


def has_result(config: DictConfig, number: int) -> bool:
    """Whether trial `number` has left its whole result; run again, it only returns that."""
    return (trial_folder(config, number) / "result.json").is_file()


def _set_number(config: DictConfig, number: int) -> None:
    with open_dict(config):
        config.hydra.job.id = number
        config.hydra.job.num = number


@dataclass(frozen=True)
class Job:
    """The application's main function, and Hydra's loader and callbacks."""

    task: TaskFunction
    context: HydraContext


@dataclass
class _Recorded:
    """The user's task with its error kept: Hydra's JobReturn prints to stderr when it is asked for one."""

    task: TaskFunction
    trial: RunningTrial
    faults: list[TrialFailedError] = field(default_factory=list)

    def __call__(self, config: Any) -> Any:
        try:
            with running(self.trial):
                return self.task(config)
        except (Exception, SystemExit) as error:  # a library's sys.exit is a trial's failure, not the study's end
            _log.exception("trial %d failed", self.trial.number)
            reason = f"{type(error).__name__}: {error}"
            permanent = isinstance(error, PermanentError)
            self.faults.append(TrialFailedError(reason, traceback.format_exc(), permanent))
            raise RuntimeError("the trial failed") from error


class TrialFailedError(Exception):
    """The task raised: `reason` in one line, `trace` whole; `permanent` if it would raise again."""

    def __init__(self, reason: str, trace: str, permanent: bool) -> None:
        super().__init__(reason)
        self.reason = reason
        self.trace = trace
        self.permanent = permanent


def run_trial_job(
    trial: RunningTrial, overrides: Sequence[str], *, config: DictConfig, composer: Composer, job: Job
) -> Any:
    """Composes, runs and logs one trial; callbacks (`on_job_start`, `on_job_end`) are called as by Hydra's launchers.

    Args:
        trial: what the task will find in `current_trial`.
        overrides: the trial's, as on the command line.
        config: the study's configuration.
        composer: of the study's configurations.
        job: the application's main function, with Hydra's context.

    Returns:
        what the task returned.

    Raises:
        TrialFailedError: the task raised.
    """
    composed = composer.compose(overrides)
    _set_number(composed, trial.number)
    recorded = _Recorded(job.task, trial)
    try:
        returned = run_hydra_job(composed, recorded, job.context, trial.folder)
    finally:
        configure_log(config.hydra.hydra_logging, config.hydra.verbose)
    if recorded.faults:
        raise recorded.faults[0]
    return returned.return_value
