"""Results of workers on other machines, through the study's storage: its own machine reports on all trials."""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from omegaconf import DictConfig
from optuna.storages import BaseStorage

from bai_sweep.search._job import trial_folder
from bai_sweep.search._queue import TrialQueue
from bai_sweep.search._view import NUMBER

_PART = "result/{}"
_SIZE = 60_000  # characters in one attribute: MySQL's text has 65,535 bytes
_FILES = ("result.json", ".hydra/config.yaml", ".hydra/overrides.yaml")


def hand_over(storage: BaseStorage, trial_id: int, folder: Path) -> None:
    """Keeps what a report reads of a trial's folder with the trial."""
    files = {name: (folder / name).read_text(encoding="utf-8") for name in _FILES if (folder / name).is_file()}
    packed = base64.b64encode(zlib.compress(json.dumps(files).encode(), 9)).decode()
    for index, start in enumerate(range(0, len(packed), _SIZE)):
        storage.set_trial_user_attr(trial_id, _PART.format(index), packed[start : start + _SIZE])


def collect(queue: TrialQueue, config: DictConfig) -> list[int]:
    """Writes what was handed over into the folders of trials that have no result here; their numbers."""
    collected = []
    for trial in queue.trials():
        folder = trial_folder(config, trial.user_attrs[NUMBER])
        if _PART.format(0) in trial.user_attrs and not (folder / "result.json").exists():
            _unpack(trial.user_attrs, folder)
            collected.append(trial.user_attrs[NUMBER])
    return collected


def _unpack(attrs: Mapping[str, Any], folder: Path) -> None:
    parts = [attrs[_PART.format(index)] for index in range(sum(key.startswith("result/") for key in attrs))]
    files: dict[str, str] = json.loads(zlib.decompress(base64.b64decode("".join(parts))))
    for name in reversed(_FILES):  # the result last: where it is, all is
        if name in files:
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            partial = path.with_name(path.name + ".partial")
            partial.write_text(files[name], encoding="utf-8")
            partial.replace(path)
