"""A study as promotion sees it: its trials, its choice, where it reports."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from bai_sweep.config import SelectionConfig, TrackingConfig
from bai_sweep.records import Choice, TrialResult, UserError
from bai_sweep.report import load_study
from bai_sweep.selection import choose

_RECORD = "study.json"


@dataclass(frozen=True)
class Study:
    """A study, finished or not.

    Args:
        folder: results/<name>.
        command: The shell command that ran it, without secrets.
        model: The name of its models (`model=<name>`).
        tracking: Where it reports.
        results: Its finished trials by number.
        failures: The reason of each trial that failed, by number.
        choice: Among the finished ones, None if there is none.
    """

    folder: Path
    command: str
    model: str
    tracking: TrackingConfig
    results: Mapping[int, TrialResult]
    failures: Mapping[int, str]
    choice: Choice | None

    @property
    def name(self) -> str:
        """The folder's."""
        return self.folder.resolve().name

    @property
    def registered_name(self) -> str:
        """Of the model in the registry, if no other is given: one for the models that are merged."""
        return f"bai-{self.model}"


@dataclass(frozen=True)
class Standing:
    """Where a trial stands in its study.

    Args:
        says: One line for people.
        fault: Why it may not be promoted unless somebody answers for it; None if it may.
    """

    says: str
    fault: str | None = None


def read_study(folder: Path) -> Study:
    """Reads a study and chooses by its own rule.

    Raises:
        UserError: The folder holds no study, or one of another version.
    """
    path = folder / _RECORD
    if not path.is_file():
        raise UserError(f"{folder} holds no study ({_RECORD} is not there); give study= and results_dir=")
    record: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    try:
        config = record["config"]
        rule = SelectionConfig.model_validate(config["selection"])
        tracking = TrackingConfig.model_validate(config["tracking"])
        seed, model = int(config["seed"]), str(config["model"]["name"])
    except (ValidationError, KeyError, TypeError) as error:
        raise UserError(
            f"{path} is not of this version ({error}); promote with the version that ran the study"
        ) from error
    found = load_study(folder)
    choice = choose(found.results, rule, seed) if found.results else None
    results = {result.number: result for result in found.results}
    return Study(folder, str(record["command"]), model, tracking, results, found.failure_reasons, choice)


def number_of(study: Study, wanted: int | None) -> int:
    """The trial that is meant: the one that is named, else the recommended one.

    Raises:
        UserError: There is no such trial, or no recommendation.
    """
    if wanted is None:
        if study.choice is not None and study.choice.winner is not None:
            return study.choice.winner
        reason = study.choice.reason if study.choice else "no trial has finished."
        raise UserError(f"study {study.name} recommends no trial: {reason} Name one with trial=<number>")
    if not (study.folder / "trials" / str(wanted)).is_dir():
        folders = (path.name for path in (study.folder / "trials").iterdir() if path.name.isdecimal())
        known = ", ".join(sorted(folders, key=int)) or "none"
        raise UserError(f"study {study.name} has no trial {wanted}; there are: {known}")
    return wanted


def standing_of(study: Study, number: int) -> Standing:
    """Where the trial stands, and whether it may be promoted."""
    if number not in study.results:
        fault = f"it failed: {study.failures[number]}" if number in study.failures else "it has not finished"
        return Standing("not finished", fault)
    choice = study.choice
    assert choice is not None  # there is a result
    if number in choice.ineligible:
        return Standing("ineligible", choice.ineligible[number])
    if choice.winner is None or not _same_point(study.results[number], study.results[choice.winner]):
        best = "" if choice.winner is None else f"; recommended is trial {choice.winner}"
        probability = choice.best_probability.get(number, 0.0)
        return Standing(f"eligible, not the recommended one (best with probability {probability:.2f}){best}")
    return Standing("recommended, clear" if choice.clear else "recommended, but not clear")


def _same_point(one: TrialResult, other: TrialResult) -> bool:
    """Whether they are one trial, or two seeds of one point."""
    points = [{key: value for key, value in result.params.items() if key != "seed"} for result in (one, other)]
    return one.number == other.number or (bool(points[0]) and points[0] == points[1])
