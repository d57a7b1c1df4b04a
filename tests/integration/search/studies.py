"""Runs whole studies in this process: real Hydra, real configuration, real Optuna; the trial is the test's own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import optuna
import pytest
from hydra import version
from hydra._internal.hydra import Hydra
from hydra._internal.utils import create_config_search_path
from hydra.core.global_hydra import GlobalHydra
from omegaconf import DictConfig
from optuna.trial import FrozenTrial, TrialState

from bai_sweep.search import RunningTrial, current_trial
from bai_sweep.search._storage import StorageAddress
from bai_sweep.sources import packaged_dir

Task = Callable[[RunningTrial, DictConfig], Any]


def alpha_of(_trial: RunningTrial, cfg: DictConfig) -> float:
    """A task whose objective is alpha."""
    return float(cfg.alpha)


@dataclass
class Studies:
    """Runs `python -m bai_sweep -m ...` in this process with a task of the test's."""

    folder: Path
    ran: list[RunningTrial] = field(default_factory=list)

    def run(self, *overrides: str, task: Task = alpha_of, functions: str = "null") -> None:
        def recorded(cfg: DictConfig) -> Any:
            trial = current_trial()
            assert trial is not None
            self.ran.append(trial)
            return task(trial, cfg)

        version.setbase("1.3")
        search_path = create_config_search_path(str(packaged_dir("conf")))
        hydra = Hydra.create_main_hydra2(task_name="app", config_search_path=search_path)
        try:
            own = ["hydra.sweeper.retries=0", f"hydra.sweeper.study_functions={functions}"]
            hydra.multirun("config", recorded, [*own, *overrides])
        finally:
            GlobalHydra.instance().clear()

    def fails(self, *overrides: str, code: int, task: Task = alpha_of, functions: str = "null") -> None:
        with pytest.raises(SystemExit) as ended:
            self.run(*overrides, task=task, functions=functions)
        assert ended.value.code == code

    def numbers(self) -> list[int]:
        """Of the trials run since this was last asked."""
        numbers = [trial.number for trial in self.ran]
        self.ran.clear()
        return numbers

    def study(self, name: str = "default") -> optuna.Study:
        """As Optuna has it."""
        storage = StorageAddress(self.folder / "results" / name, None).open()
        return optuna.load_study(study_name=name, storage=storage)

    def trials(self, study: str = "default") -> list[FrozenTrial]:
        """Every Optuna trial, in Optuna's order."""
        return self.study(study).trials

    def values(self, study: str = "default") -> dict[int, list[float]]:
        """Objectives of the completed trials, by our number."""
        done = [t for t in self.trials(study) if t.state == TrialState.COMPLETE and "number" in t.user_attrs]
        return {t.user_attrs["number"]: t.values for t in done}
