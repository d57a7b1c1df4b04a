"""The file through which Hydra finds our sweeper; Hydra loads plugins from the package `hydra_plugins` only.

Hydra imports it at every start, so nothing heavy is imported here: the study itself is bai_sweep.search.
"""

from __future__ import annotations

from typing import Any

from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig


class BaiSweeper(Sweeper):
    """`hydra/sweeper=bai`; its settings are conf/hydra/sweeper/bai.yaml."""

    def __init__(self, **settings: Any) -> None:
        self._settings = settings

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Called by Hydra before `sweep`."""
        self.hydra_context = hydra_context
        self.config = config
        self._task_function = task_function

    def sweep(self, arguments: list[str]) -> None:
        """Runs the study; ends the process with exit code 1, 2 or 130 if it did not end well."""
        from bai_sweep.search import run_study

        assert self.hydra_context is not None, "Hydra calls setup before sweep"
        assert self.config is not None, "Hydra calls setup before sweep"
        run_study(
            arguments,
            settings=self._settings,
            config=self.config,
            hydra_context=self.hydra_context,
            task=self._task_function,
        )
