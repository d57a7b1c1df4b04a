"""The Hydra callback that checks a configuration before Hydra writes anything or a model loads."""

from __future__ import annotations

import sys
from typing import Any

from hydra.experimental.callback import Callback
from omegaconf import DictConfig

from bai_sweep.config import ConfigError, parse


class ValidateBeforeRun(Callback):
    """Ends the process with every fault in one message; Hydra's own errors come before this one."""

    def on_run_start(self, config: DictConfig, **_: Any) -> None:
        """A single trial."""
        _check(config)

    def on_multirun_start(self, config: DictConfig, **_: Any) -> None:
        """A study: its defaults; the sweeper checks each point of the search space before the first trial."""
        _check(config)


def _check(config: DictConfig) -> None:
    try:
        parse(config)
    except ConfigError as error:
        # Hydra turns a callback's exceptions into warnings; SystemExit is not one.
        print(error, file=sys.stderr)
        sys.exit(2)
