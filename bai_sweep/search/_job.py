"""One trial as a Hydra job: composed, logged and saved in its own folder like any other job of Hydra's."""

from __future__ import annotations

import copy
import logging
import traceback
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hydra.core.utils import configure_log, run_job
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, open_dict

from bai_sweep.search._context import RunningTrial, running

_log = logging.getLogger(__name__)


def study_folder(config: DictConfig) -> Path:
    """Where the study of a multirun configuration stands."""
    return Path(str(config.hydra.sweep.dir))


def trial_folder(config: DictConfig, number: int) -> Path:
    """Where trial `number` stands, absolute."""
    numbered = copy.deepcopy(config)
    _set_number(numbered, number)
    return (study_folder(numbered) / str(numbered.hydra.sweep.subdir)).absolute()


def has_result(config: DictConfig, number: int) -> bool:
    """Whether trial `number` has left its whole result; run again, it only returns that."""
    return (trial_folder(config, number) / "result.json").is_file()


def _set_number(config: DictConfig, number: int) -> None:
    with open_dict(config):
        config.hydra.job.id = number
        config.hydra.job.num = number


@dataclass
class _Recorded:
    """The user's task with its error kept: Hydra's JobReturn prints to stderr when it is asked for one."""

    task: TaskFunction
    trial: RunningTrial
    faults: list[tuple[str, str]] = field(default_factory=list)

    def __call__(self, config: Any) -> Any:
        try:
            with running(self.trial):
                return self.task(config)
        except (Exception, SystemExit) as error:  # a library's sys.exit is a trial's failure, not the study's end
            _log.exception("trial %d failed", self.trial.number)
            self.faults.append((f"{type(error).__name__}: {error}", traceback.format_exc()))
            raise RuntimeError("the trial failed") from error


class TrialFailedError(Exception):
    """The task raised: `reason` in one line, `trace` whole."""

    def __init__(self, reason: str, trace: str) -> None:
        super().__init__(reason)
        self.reason = reason
        self.trace = trace


def run_trial_job(
    trial: RunningTrial, overrides: Sequence[str], *, config: DictConfig, context: HydraContext, task: TaskFunction
) -> Any:
    """Composes, runs and logs one trial; callbacks (`on_job_start`, `on_job_end`) are called as by Hydra's launchers.

    Args:
        trial: what the task will find in `current_trial`.
        overrides: the trial's, as on the command line.
        config: the study's configuration.
        context: Hydra's, with loader and callbacks.
        task: the application's main function.

    Returns:
        what the task returned.

    Raises:
        TrialFailedError: the task raised.
    """
    composed = context.config_loader.load_sweep_config(config, list(overrides))
    _set_number(composed, trial.number)
    recorded = _Recorded(task, trial)
    try:
        job = run_job(
            hydra_context=context,
            task_function=recorded,
            config=composed,
            job_dir_key="hydra.sweep.dir",
            job_subdir_key="hydra.sweep.subdir",
        )
    finally:
        configure_log(config.hydra.hydra_logging, config.hydra.verbose)
    if recorded.faults:
        raise TrialFailedError(*recorded.faults[0])
    return job.return_value
