"""Which study a command is about."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
from omegaconf import OmegaConf

from bai_sweep.records import UserError
from bai_sweep.search.control import FOLDER, JOURNAL, StorageAddress, load

KEYS = ("study", "results_dir", "storage")
_PATIENCE = 10.0  # seconds


@dataclass(frozen=True)
class Found:
    """A study, and the folder of its trials, which may be on another machine."""

    study: optuna.Study
    folder: Path
    url: str | None


def parse_arguments(arguments: Sequence[str], allowed: Sequence[str]) -> dict[str, str]:
    """`key=value` each.

    Raises:
        UserError: something else, or a key that the command does not know.
    """
    found: dict[str, str] = {}
    for argument in arguments:
        key, sign, value = argument.partition("=")
        if not sign or key not in allowed:
            raise UserError(f"arguments are key=value with a key of {', '.join(allowed)}; got {argument!r}")
        found[key] = value.strip("'\"")
    return found


def find(arguments: Mapping[str, str]) -> Found:
    """Opens the study that is named, or the one begun last.

    Raises:
        UserError: there is none.
    """
    results = Path(arguments.get("results_dir", "results"))
    name, url = arguments.get("study"), arguments.get("storage")
    if url is not None:
        return _in_database(url, name, results)
    folder = results / name if name is not None else newest(results)
    url = _storage_of(folder)
    if url is not None:
        return _in_database(url, folder.name, results)
    if not (folder / JOURNAL).is_file():
        known = ", ".join(sorted(path.parent.name for path in results.glob(f"*/{JOURNAL}"))) or "none"
        raise UserError(f"no study {folder.name} in {results}; there are: {known}; give study= and results_dir=")
    return Found(load(folder.name, StorageAddress(folder, None, _PATIENCE).open()), folder, None)


def _in_database(url: str, name: str | None, results: Path) -> Found:
    storage = StorageAddress(results, url, _PATIENCE).open()
    if name is None:
        studies = storage.get_all_studies()
        if not studies:
            raise UserError("the storage holds no study; give another storage=, or results_dir=")
        name = max(studies, key=lambda study: study._study_id).study_name
    study = load(name, storage)
    return Found(study, Path(str(study.user_attrs.get(FOLDER, results / name))), url)


def newest(results: Path) -> Path:
    """The folder of the study that was begun last.

    Raises:
        UserError: There is none.
    """
    folders = [path.parent for path in results.glob("*/multirun.yaml")]
    if not folders:
        raise UserError(f"{results} holds no study; give results_dir=, or storage= of a database")
    return max(folders, key=lambda folder: (folder / "multirun.yaml").stat().st_mtime)


def _storage_of(folder: Path) -> str | None:
    """The database of a study, as its folder tells."""
    path = folder / "multirun.yaml"
    if not path.is_file():
        return None
    url: Any = OmegaConf.select(OmegaConf.load(path), "hydra.sweeper.storage")
    return None if url is None else str(url)
