"""A study from its plan to its conclusion."""

from __future__ import annotations

import copy
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import optuna
from hydra.core.singleton import Singleton
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf, open_dict
from optuna.distributions import check_distribution_compatibility
from optuna.storages import BaseStorage

from bai_sweep.config import parse
from bai_sweep.records import UserError
from bai_sweep.search._definition import differences
from bai_sweep.search._functions import load_study_functions
from bai_sweep.search._gpus import gpus_of_workers
from bai_sweep.search._grid import GRID, renumbered
from bai_sweep.search._handover import collect
from bai_sweep.search._invitation import PARENT_RUN, invite
from bai_sweep.search._job import study_folder
from bai_sweep.search._launch import run_workers, uses_launcher
from bai_sweep.search._names import claim_name, newest_study
from bai_sweep.search._plan import Plan
from bai_sweep.search._prior import read_prior
from bai_sweep.search._queue import TOTAL, Survey, TrialQueue
from bai_sweep.search._sampler import make_pruner, make_sampler
from bai_sweep.search._settings import Direction, SearchSettings
from bai_sweep.search._space import Space
from bai_sweep.search._state import OBJECTIVES, SEEDS
from bai_sweep.search._stopping import terminated_as_interrupted
from bai_sweep.search._storage import StorageAddress, open_database
from bai_sweep.search._worker import WorkerJob, forget_failures, make_queue, record_failures

DEFINITION = "definition"
PRIMED = "primed"  # whether it has the trials of warm_start
ASKED = "asked"  # n_trials of the last command; `add` makes the study owe more
_NEVER_CHANGED = ("seeds", "hydra.sweeper.n_trials", "hydra.sweeper.objective", "hydra.sweeper.direction")


@dataclass(frozen=True)
class Study:
    """A study whose input is good."""

    plan: Plan
    config: DictConfig
    context: HydraContext
    task: TaskFunction
    _stopped: list[str] = field(default_factory=list)

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
            UserError: sampler or pruner cannot be made, an input is not there, or the study cannot be resumed as asked
                or its folder not be written.
            KeyboardInterrupt: the user stopped it; the running trials went back to the queue.
        """
        make_sampler(self.settings.sampler, 0)
        make_pruner(self.settings.pruner)
        functions = load_study_functions(self.settings.study_functions)
        checked = parse(self.config)
        functions.check_study(checked)
        gpus = [] if uses_launcher(self.config) else gpus_of_workers(self.plan.configs, checked.workers)
        prior = read_prior(self.settings, self.space, checked.tracking)
        name, config, queue, resumed = self._opened()
        if prior and not queue.study.user_attrs.get(PRIMED):
            for trial in prior:
                queue.study.add_trial(trial)
            queue.study.set_user_attr(PRIMED, True)
        handle = functions.open_study(
            parse(config),
            name=name,
            folder=study_folder(config),
            space=self.space.described(),
            total=queue.study.user_attrs[TOTAL],
            resume=resumed,
        )
        invite(queue.study, config, handle.parent_run_id, handle.worker_overrides)
        job = self._worker_job(name, config, handle.parent_run_id)
        over = False
        try:
            with terminated_as_interrupted():
                with handle.display():
                    stopped = run_workers(job, queue, workers=checked.workers, threads=checked.threads, gpus=gpus)
                survey = queue.survey()
                collect(queue, config)
                if survey.is_over:
                    over = True  # however its conclusion fares, which marks its end itself
                    functions.conclude(handle, failures=survey.failures)
                elif stopped:
                    raise KeyboardInterrupt
                self._stopped.append(queue.stop_reason)
                return survey
        finally:
            if not over:
                handle.interrupted()

    @property
    def stop_reason(self) -> str:
        """Why no further trial was to begin; empty if nothing stopped the study."""
        return self._stopped[0] if self._stopped else ""

    def join(self) -> Survey:
        """Works for a study that runs elsewhere, until it owes nothing or stops, or this process is asked to stop.

        Raises:
            UserError: there is no such study, or it is another one.
            KeyboardInterrupt: the user stopped this worker; its trial went back to the queue.
        """
        checked = parse(self.config)
        address = self._address(self.config)
        study = load(str(self.config.study), address.open())
        self._check_same(study)
        study_folder(self.config).mkdir(parents=True, exist_ok=True)
        job = self._worker_job(study.study_name, self.config, study.user_attrs.get(PARENT_RUN))
        if self.settings.storage is not None:  # else the folder is shared
            job = replace(job, hands_over=True)
        queue = job.open_queue()
        if run_workers(job, queue, workers=checked.workers, threads=checked.threads):
            raise KeyboardInterrupt
        return queue.survey()

    def _opened(self) -> tuple[str, DictConfig, TrialQueue, bool]:
        """The study's name, configuration and queue, and whether it goes on."""
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
        return name, config, queue, resumed

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

    def _address(self, config: DictConfig) -> StorageAddress:
        return StorageAddress(study_folder(config), self.settings.storage, self.settings.storage_patience)

    def _open_queue(self, name: str, config: DictConfig, resumed: bool) -> TrialQueue:
        settings = self.settings
        study_folder(config).mkdir(parents=True, exist_ok=True)  # a study in a database may have lost its folder
        storage = self._address(config).open()
        study = _open_or_create(name, storage, settings.direction)
        self._check_same(study)
        grid, withdrawn = self._grid(study)
        total = (len(grid) if settings.is_grid else self._budget(study)) * self.plan.seeds
        if grid != study.user_attrs.get(GRID, []):
            study.set_user_attr(GRID, grid)
        queue = make_queue(study, storage, settings=settings, space=self.space, seeds=self.plan.seeds, config=config)
        record_failures(config, queue.recover())
        if resumed:
            forget_failures(config, queue.reopen())
        queue.withdraw({p * self.plan.seeds + replicate for p in withdrawn for replicate in range(self.plan.seeds)})
        queue.owe(total)
        return queue

    def _grid(self, study: optuna.Study) -> tuple[list[dict[str, Any]], set[int]]:
        """Optuna's parameters of a grid's points by index, and the indices of those that are not tried any more.

        Points that a study has begun with keep their numbers when `force` has changed the grid.
        """
        if not self.settings.is_grid:
            return [], set()
        grid: list[dict[str, Any]] = [dict(self.space.encode(point)) for point in self.space.grid()]
        return renumbered(study.user_attrs.get(GRID, grid), grid)

    def _budget(self, study: optuna.Study) -> int:
        """Points of a search: those asked for, or what `add` has made of them."""
        asked, before = self.plan.points, study.user_attrs.get(ASKED, 0)
        if asked < before:
            raise UserError(f"n_trials may grow on resume, not shrink: {before} before, {asked} now")
        if asked != before:
            study.set_user_attr(ASKED, asked)
        owed: int = study.user_attrs.get(TOTAL, 0) // self.plan.seeds
        return max(asked, owed)

    def _check_same(self, study: optuna.Study) -> None:
        """A study's definition is kept with it; only a sampler's budget may change, and only grow; or by force."""
        asked = {
            **self.plan.common,
            **self.space.described(),
            "seeds": self.plan.seeds,
            "hydra.sweeper.n_trials": "none, the full grid" if self.settings.is_grid else "a number",
            "hydra.sweeper.objective": ", ".join(self.settings.objective),
            "hydra.sweeper.direction": ", ".join(self.settings.direction),
            "hydra.sweeper.constraints": self.settings.constraints,
        }
        known = study.user_attrs.get(DEFINITION)
        if known is None:
            study.set_user_attr(OBJECTIVES, list(self.settings.objective))
            study.set_user_attr(SEEDS, self.plan.seeds)
            study.set_user_attr(DEFINITION, asked)
            return
        changed = differences(known, asked)
        fixed = [line for line in changed if line.strip().partition(":")[0] in _NEVER_CHANGED]
        if changed and (fixed or not self.config.force):
            fix = "resume with what it was, add force=true to go on all the same, or start a new study"
            if fixed:
                fix = f"{', '.join(_NEVER_CHANGED)} stay what they were; start a new study without resume=true"
            raise UserError("\n".join([f"study {study.study_name} is another one:", *changed, fix]))
        if changed:
            self._check_drawable(study)
            print("\n".join([f"study {study.study_name} goes on changed, by force:", *changed]), file=sys.stderr)
            study.set_user_attr(DEFINITION, asked)

    def _check_drawable(self, study: optuna.Study) -> None:
        """A study's storage takes one kind of distribution for a parameter, whose bounds alone may change."""
        new = {} if self.settings.is_grid else self.space.distributions()
        for trial in study.get_trials(deepcopy=False):
            for name, old in trial.distributions.items():
                if name in new:
                    try:
                        check_distribution_compatibility(old, new[name])
                    except ValueError as error:
                        raise UserError(
                            f"force=true may change the bounds of {name}, not what it is: Optuna keeps {old} and "
                            f"cannot draw from {new[name]}; start a new study with hydra.sweeper.warm_start of it"
                        ) from error

    def _worker_job(self, name: str, config: DictConfig, parent_run_id: str | None) -> WorkerJob:
        return WorkerJob(
            study=name,
            address=self._address(config),
            space=self.space,
            seeds=self.plan.seeds,
            settings=self.settings,
            config=config,
            context=self.context,
            task=self.task,
            parent_run_id=parent_run_id,
            home=os.getpid(),
            hydra_state=Singleton.get_state(),
        )


def _open_or_create(name: str, storage: BaseStorage, directions: Sequence[Direction]) -> optuna.Study:
    # create_study(load_if_exists=True) writes to the journal even when it only loads.
    pruner = optuna.pruners.NopPruner()
    try:
        return optuna.load_study(study_name=name, storage=storage, pruner=pruner)
    except KeyError:
        return optuna.create_study(study_name=name, storage=storage, directions=list(directions), pruner=pruner)


def load(name: str, storage: BaseStorage) -> optuna.Study:
    """A study that there is.

    Raises:
        UserError: there is none of this name.
    """
    try:
        return optuna.load_study(study_name=name, storage=storage, pruner=optuna.pruners.NopPruner())
    except KeyError:
        known = ", ".join(sorted(study.study_name for study in storage.get_all_studies())) or "none at all"
        raise UserError(f"no study {name} in this storage; there are {known}; give study=<name>") from None
