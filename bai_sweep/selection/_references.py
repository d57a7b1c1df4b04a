"""Trials of other folders: references of floors, and further replicates."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from bai_sweep.config import SelectionConfig
from bai_sweep.records import TrialResult, UserError


def check_selection(config: SelectionConfig) -> None:
    """That the folders which the rule names are there and hold what it asks of them; before a study begins.

    Raises:
        UserError: all that is wrong, in one message.
    """
    faults = []
    for benchmark, floor in config.floors.items():
        if isinstance(floor.reference, str):
            faults += _fault_of_reference(benchmark, floor.reference)
    for folder in config.also:
        try:
            trials_in(folder)
        except UserError as error:
            faults.append(f"selection.also: {error}")
    if faults:
        raise UserError("\n".join(faults))


def reference_in(folder: str) -> TrialResult:
    """The result of one trial.

    Raises:
        UserError: the folder holds none, or none that can be read.
    """
    path = Path(folder)
    if not (path / "result.json").is_file():
        raise UserError(
            f"{folder} holds no result.json; give the folder of a finished trial, results/<study>/trials/<n>"
        )
    try:
        return TrialResult.load(path)
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{folder}/result.json is not a result of this version ({error})") from None


def trials_in(folder: str) -> list[TrialResult]:
    """The finished trials of a study, numbered -1, -2, ... so that they meet none of another study's.

    Raises:
        UserError: the folder holds no study, or a result cannot be read.
    """
    trials = Path(folder) / "trials"
    if not trials.is_dir():
        raise UserError(f"{folder} holds no trials/; give the folder of a study, results/<study>")
    found = sorted((int(p.parent.name), p.parent) for p in trials.glob("*/result.json") if p.parent.name.isdecimal())
    return [reference_in(str(path)) for _, path in found]


def others(config: SelectionConfig) -> list[TrialResult]:
    """All trials of `config.also`, with negative numbers."""
    loaded: Sequence[TrialResult] = [trial for folder in config.also for trial in trials_in(folder)]
    return [replace(trial, number=-1 - k) for k, trial in enumerate(loaded)]


def _fault_of_reference(benchmark: str, folder: str) -> list[str]:
    where = f"selection.floors.{benchmark}.reference"
    try:
        scored = [score.benchmark for score in reference_in(folder).report.scores]
    except UserError as error:
        return [f"{where}: {error}"]
    listed = ", ".join(scored) or "none"
    return [] if benchmark in scored else [f"{where}: {folder} has no {benchmark}; it has {listed}"]
