"""What Hydra's `run_job` does for a trial, without its copies of copies: a tenth of a second for each trial.

Contract: the configuration of Hydra is set while the task runs, its logging is configured, `.hydra/` is written, the
variables of `hydra.job.env_set` are there, callbacks hear of start and end, and all is as before afterwards.
"""

from __future__ import annotations

import copy
import os
import pickle
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from hydra.core.utils import JobReturn, JobRuntime, JobStatus, configure_log, env_override
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf, open_dict

from bai_sweep.search._written import save_composed


def run_hydra_job(config: DictConfig, task: TaskFunction, context: HydraContext, folder: Path) -> JobReturn:
    """Runs `task` on a composed configuration.

    Args:
        config: whole, with the job's number; it is changed.
        task: gets it without `hydra`; its exception is in what is returned.
        context: Hydra's callbacks.
        folder: where the job writes; made.
    """
    with open_dict(config.hydra.runtime):
        config.hydra.runtime.output_dir = str(folder)
    returned = JobReturn(
        overrides=list(config.hydra.overrides.task),
        cfg=_without_hydra(config),
        hydra_cfg=config,
        task_name=JobRuntime.instance().get("name"),
    )
    folder.mkdir(parents=True, exist_ok=True)
    with _hydra_of(config), _directory(folder if config.hydra.job.chdir else None):
        returned.working_dir = str(Path.cwd())
        configure_log(config.hydra.job_logging, config.hydra.verbose)
        if config.hydra.output_subdir is not None:
            save_composed(config, folder / str(config.hydra.output_subdir))
        with env_override(config.hydra.job.env_set):
            context.callbacks.on_job_start(config=config, task_function=task)
            try:
                returned.return_value = task(returned.cfg)
                returned.status = JobStatus.COMPLETED
            except Exception as error:  # noqa: BLE001 - it is the callbacks' and the caller's
                returned.return_value, returned.status = error, JobStatus.FAILED
        context.callbacks.on_job_end(config=config, job_return=returned)
    return returned


def _without_hydra(config: DictConfig) -> DictConfig:
    try:
        copied: DictConfig = pickle.loads(pickle.dumps(config))  # noqa: S301 - ten times as fast as a deep copy
    except pickle.PicklingError:  # of a launcher's schema, which Hydra has imported twice
        copied = copy.deepcopy(config)
    with open_dict(copied):
        del copied["hydra"]
    return copied


@contextmanager
def _hydra_of(config: DictConfig) -> Iterator[None]:
    """`HydraConfig.get()` is this configuration's within the body."""
    OmegaConf.set_readonly(config.hydra, True)
    held = HydraConfig.instance()
    before = held.cfg
    held.cfg = config  # type: ignore[assignment] # as Hydra's own, its node `hydra` is what is asked for
    try:
        yield
    finally:
        held.cfg = before


@contextmanager
def _directory(folder: Path | None) -> Iterator[None]:
    before = Path.cwd()
    if folder is not None:
        os.chdir(folder)
    try:
        yield
    finally:
        if folder is not None:
            os.chdir(before)
