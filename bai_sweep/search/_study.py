"""A study from its plan to its conclusion."""

from __future__ import annotations

import copy
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import optuna
from hydra.core.singleton import Singleton
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf, open_dict
from optuna.storages import BaseStorage

from bai_sweep.config import parse
from bai_sweep.records import UserError
from bai_sweep.search._definition import differences
from bai_sweep.search._functions import load_study_functions
from bai_sweep.search._job import study_folder
from bai_sweep.search._launch import run_workers
from bai_sweep.search._names import claim_name, newest_study
from bai_sweep.search._plan import Plan
from bai_sweep.search._queue import TOTAL, Survey, TrialQueue
from bai_sweep.search._sampler import make_sampler
from bai_sweep.search._settings import SearchSettings
from bai_sweep.search._space import Space
from bai_sweep.search._storage import StorageAddress, open_database
from bai_sweep.search._worker import (
    WorkerJob,
    forget_failures,
    make_queue,
    record_failures,
    terminated_as_interrupted,
)

_DEFINITION = "definition"


@dataclass(frozen=True)
class Study:
    """A study whose input is good."""

    plan: Plan
    config: DictConfig
    context: HydraContext
    task: TaskFunction

    @property
    def settings(self) -> SearchSettings:
        """The sweeper's."""
        return self.plan.settings

    @property
    def space(self) -> Space:
        """What is searched."""
        return self.plan.space

    def run(self) -> Survey:
        """Names, fills, works off and concludes the study.

        Raises:
            UserError: the sampler cannot be made, an input is not there, or the study cannot be resumed as asked or
                its folder not be written.
            KeyboardInterrupt: the user stopped it; the running trials went back to the queue.
        """
        make_sampler(self.settings.sampler, 0)
        functions = load_study_functions(self.settings.study_functions)
        functions.check_study(parse(self.config))
        try:
            name, resumed = self._choose_name()
            config = self._config_of(name)
            queue = self._open_queue(name, config, resumed)
            OmegaConf.save(config, study_folder(config) / "multirun.yaml")
        except OSError as error:
            where = error.filename or study_folder(self.config)
            raise UserError(
                f"cannot write {where}: {error.strerror}; make it writable or change results_dir"
            ) from error
        checked = parse(config)
        handle = functions.open_study(
            checked,
            name=name,
            folder=study_folder(config),
            space=self.space.described(),
            total=queue.study.user_attrs[TOTAL],
            resume=resumed,
        )
        job = self._worker_job(name, config, handle.parent_run_id)
        concluded = False
        try:
            with terminated_as_interrupted():
                with handle.display():
                    run_workers(job, queue, workers=checked.workers, threads=checked.threads)
                survey = queue.survey()
                if survey.is_over:
                    functions.conclude(handle, failures=survey.failures)
                    concluded = True
                return survey
        finally:
            if not concluded:
                handle.interrupted()

    def _choose_name(self) -> tuple[str, bool]:
        """The study's name, and whether a study of that name goes on."""
        base, url = str(self.config.study), self.settings.storage
        stored = None if url is None else {s.study_name for s in open_database(url).get_all_studies()}
        if self.config.resume:
            newest = newest_study(base, self._folder_of, stored)
            print(f"study {newest}: going on, in {self._folder_of(newest)}")
            return newest, True
        name = claim_name(base, self._folder_of, stored or ())
        told = f" ({base} exists; resume=true goes on with the newest)" if name != base else ""
        print(f"study {name}: new{told}, in {self._folder_of(name)}")
        return name, False

    def _config_of(self, name: str) -> DictConfig:
        config = copy.deepcopy(self.config)
        with open_dict(config):
            config.study = name
        return config

    def _folder_of(self, name: str) -> Path:
        return study_folder(self._config_of(name))

    def _open_queue(self, name: str, config: DictConfig, resumed: bool) -> TrialQueue:
        settings = self.settings
        folder = study_folder(config)
        folder.mkdir(parents=True, exist_ok=True)  # a study in a database may have lost its folder
        storage = StorageAddress(folder, settings.storage).open()
        study = _open_or_create(name, storage, settings.direction)
        grid = self.space.grid() if settings.is_grid else None
        total = len(grid) if grid is not None else settings.n_trials
        assert total is not None, "without a number of trials there is a grid"
        self._check_same(study, total)
        queue = make_queue(study, storage, settings, config)
        record_failures(config, queue.recover())
        if resumed:
            forget_failures(config, queue.reopen())
        queue.fill(total, grid)
        return queue

    def _check_same(self, study: optuna.Study, total: int) -> None:
        """A study's definition is kept with it; only a sampler's budget may change, and only grow."""
        asked = {
            **self.plan.common,
            **self.space.described(),
            "hydra.sweeper.n_trials": "none, the full grid" if self.settings.is_grid else "a number",
            "hydra.sweeper.objective": self.settings.objective,
            "hydra.sweeper.direction": self.settings.direction,
        }
        known = study.user_attrs.get(_DEFINITION)
        if known is None:
            study.set_user_attr(_DEFINITION, asked)
            return
        if changed := differences(known, asked):
            fix = "resume with what it was, or start a new study without resume=true"
            raise UserError("\n".join([f"study {study.study_name} is another one:", *changed, fix]))
        before = study.user_attrs.get(TOTAL, 0)
        if total < before:
            raise UserError(f"n_trials may grow on resume, not shrink: {before} before, {total} now")

    def _worker_job(self, name: str, config: DictConfig, parent_run_id: str | None) -> WorkerJob:
        return WorkerJob(
            study=name,
            address=StorageAddress(study_folder(config), self.settings.storage),
            space=self.space,
            settings=self.settings,
            config=config,
            context=self.context,
            task=self.task,
            parent_run_id=parent_run_id,
            home=os.getpid(),
            hydra_state=Singleton.get_state(),
        )


def _open_or_create(name: str, storage: BaseStorage, direction: Literal["maximize", "minimize"]) -> optuna.Study:
    # create_study(load_if_exists=True) writes to the journal even when it only loads.
    pruner = optuna.pruners.NopPruner()
    try:
        return optuna.load_study(study_name=name, storage=storage, pruner=pruner)
    except KeyError:
        return optuna.create_study(study_name=name, storage=storage, direction=direction, pruner=pruner)
