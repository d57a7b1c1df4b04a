"""A study's folder to a `StudyReport`, at any time: also while workers write there."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import yaml

from bai_sweep.records import TrialResult, UserError
from bai_sweep.report._study import StudyReport, TrialSetting

log = logging.getLogger(__name__)

Item = TypeVar("Item")


def load_study(folder: Path, *, command: str = "", link: str | None = None) -> StudyReport:
    """Reads a study's folder as it stands, finished or not; the caller adds the choice with `dataclasses.replace`.

    Raises:
        UserError: the folder holds no study.
    """
    results, failures = load_results(folder)
    ended = {result.number for result in results} | set(failures)
    pending = tuple(number for number in sorted(_trial_folders(folder)) if number not in ended)
    return StudyReport(
        name=folder.resolve().name,
        folder=folder,
        command=command,
        results=results,
        failures=failures,
        pending=pending,
        settings=load_settings(folder),
        link=link,
        objectives=_objectives(folder),
        geometry=_of_each(folder, "geometry.json", _geometry),
        spans=_of_each(folder, "progress.json", _span),
    )


def _objectives(folder: Path) -> tuple[tuple[str, str], ...]:
    """What the study optimises, from the record that Hydra keeps of it."""
    path = folder / "multirun.yaml"
    if not path.is_file():
        return ()
    raw: Any = yaml.safe_load(path.read_text(encoding="utf-8"))
    try:
        sweeper = raw["hydra"]["sweeper"]
        names, ways = sweeper["objective"], sweeper["direction"]
    except (KeyError, TypeError):  # another version's
        return ()
    listed = [[value] if isinstance(value, str) else value for value in (names, ways)]
    return tuple(zip(*listed, strict=False))


def _of_each(folder: Path, name: str, read: Callable[[Any], Item | None]) -> dict[int, Item]:
    """What a JSON file of each trial's folder says; files that are not there, or not whole, are left out."""
    found: dict[int, Item] = {}
    for number, path in sorted(_trial_folders(folder).items()):
        try:
            item = read(json.loads((path / name).read_text(encoding="utf-8")))
        except FileNotFoundError:
            continue
        except (OSError, ValueError, KeyError, TypeError) as error:
            log.warning("%s is left out: %s", path / name, error)
            continue
        if item is not None:
            found[number] = item
    return found


def _geometry(raw: Any) -> Mapping[str, Any] | None:
    return raw if raw["layers"] and raw["total"] else None


def _span(raw: Any) -> tuple[float, float] | None:
    return float(raw["started"]), float(raw["updated"])


def load_results(folder: Path) -> tuple[tuple[TrialResult, ...], dict[int, str]]:
    """The finished trials of a study, and the reason of each failed one.

    A trial that failed once and finished later has both files and counts as finished.

    Raises:
        UserError: the folder holds no study, or a result cannot be read.
    """
    folders = _trial_folders(folder)
    results = {number: _load(path) for number, path in folders.items() if (path / "result.json").is_file()}
    failures = {
        number: (path / "failure.txt").read_text(encoding="utf-8").strip()
        for number, path in folders.items()
        if number not in results and (path / "failure.txt").is_file()
    }
    return tuple(results[number] for number in sorted(results)), dict(sorted(failures.items()))


def load_settings(folder: Path) -> dict[int, TrialSetting]:
    """How each trial of a study was set up, as far as its .hydra folder tells."""
    found = {number: _setting(path / ".hydra") for number, path in _trial_folders(folder).items()}
    return {number: setting for number, setting in found.items() if setting is not None}


def _trial_folders(folder: Path) -> dict[int, Path]:
    trials = folder / "trials"
    if not trials.is_dir():
        raise UserError(f"a study's folder holds `trials/`; {str(folder)!r} does not; give results/<study>")
    return {int(path.name): path for path in trials.iterdir() if path.is_dir() and path.name.isdecimal()}


def _load(folder: Path) -> TrialResult:
    try:
        return TrialResult.load(folder)
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{folder / 'result.json'} is not a result of this version ({type(error).__name__}: {error}); "
            "remove it and run the study with resume=true"
        ) from error


def _setting(hydra: Path) -> TrialSetting | None:
    config, overrides = hydra / "config.yaml", hydra / "overrides.yaml"
    if not (config.is_file() and overrides.is_file()):
        return None
    text = config.read_text(encoding="utf-8")
    try:
        raw: Any = yaml.safe_load(text)
        listed: Any = yaml.safe_load(overrides.read_text(encoding="utf-8"))
        return TrialSetting(str(raw["actor"]["name"]), tuple(map(str, listed or ())), text)
    except (yaml.YAMLError, KeyError, TypeError) as error:  # a trial that begins at this moment writes them
        log.warning("%s is left out: %s", hydra, error)
        return None
