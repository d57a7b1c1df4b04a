"""What a report is made from, and how to read it from a study's folder."""

from __future__ import annotations

import math
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml

from bai_sweep.records import Choice, TrialResult, UserError


@dataclass(frozen=True)
class TrialSetting:
    """How a trial was set up, from the .hydra folder beside it: the actor's kind, its overrides, the whole config."""

    actor: str
    overrides: tuple[str, ...]
    config: str  # YAML

    @property
    def command(self) -> str:
        """The command that runs this trial once more, alone."""
        kept = [item for item in self.overrides if not item.startswith("resume=")]
        return shlex.join(["python", "-m", "bai_sweep", *kept])


@dataclass(frozen=True)
class StudyReport:
    """A study as a report shows it.

    Args:
        name: the study's.
        folder: where its files are.
        command: the shell command that ran it; empty if not known.
        results: the finished trials.
        failures: the reason, by number, of each trial that failed.
        choice: the recommendation, None before there is one.
        pending: numbers of the trials that were begun and have not ended.
        settings: by number, where the trial's .hydra folder was found.
        link: opens the comparison in MLflow.
    """

    name: str
    folder: Path
    command: str
    results: tuple[TrialResult, ...]
    failures: Mapping[int, str] = field(default_factory=dict)
    choice: Choice | None = None
    pending: tuple[int, ...] = ()
    settings: Mapping[int, TrialSetting] = field(default_factory=dict)
    link: str | None = None

    @property
    def winner(self) -> TrialResult | None:
        """The recommended trial."""
        wanted = self.choice.winner if self.choice else None
        return next((result for result in self.results if result.number == wanted), None)

    @property
    def recommended(self) -> str:
        """The recommended point as people write it; of a study that repeats its points, without the seed."""
        winner = self.winner
        if winner is None:
            return ""
        point = {key: value for key, value in winner.params.items() if key != "seed"}
        alike = [r for r in self.results if point and {k: v for k, v in r.params.items() if k != "seed"} == point]
        return replace(winner, params=point).label if len(alike) > 1 else winner.label

    @property
    def trials_folder(self) -> Path | None:
        """Where the trials' own folders are, if this is a study on disk and no single trial."""
        return self.folder / "trials" if (self.folder / "trials").is_dir() else None

    @property
    def failure_reasons(self) -> dict[int, str]:
        """The first line of each failure: its reason; what follows is the traceback."""
        return {number: failure.partition("\n")[0] for number, failure in self.failures.items()}

    @property
    def ratio_is_swept(self) -> bool:
        """Whether the trials are merges whose alpha differs, so that alpha can be an axis."""
        alphas = {alpha_of(result) for result in self.results}
        merges = all(self.actor(result) in ("bai", "stage1") for result in self.results)
        return merges and len(alphas) > 1 and all(math.isfinite(alpha) for alpha in alphas)

    @property
    def ordered(self) -> tuple[TrialResult, ...]:
        """The finished trials by alpha if it is swept, otherwise by number."""
        if self.ratio_is_swept:
            return tuple(sorted(self.results, key=lambda result: (alpha_of(result), result.number)))
        return tuple(sorted(self.results, key=lambda result: result.number))

    @property
    def benchmarks(self) -> tuple[str, ...]:
        """Every benchmark that a trial was scored on, in the order of the evaluation."""
        return tuple(dict.fromkeys(score.benchmark for result in self.ordered for score in result.report.scores))

    def actor(self, result: TrialResult) -> str:
        """`bai`, `paradigm1`, ...: the name of a trial's initial actor."""
        setting = self.settings.get(result.number)
        return setting.actor if setting else str(result.params.get("actor", "bai"))


def alpha_of(result: TrialResult) -> float:
    """The base model's weight if the study sweeps it, NaN if not."""
    alpha = result.params.get("alpha")
    return float(alpha) if isinstance(alpha, int | float) else math.nan


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
    )


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
    raw: Any = yaml.safe_load(text)
    listed: Any = yaml.safe_load(overrides.read_text(encoding="utf-8"))
    return TrialSetting(str(raw["actor"]["name"]), tuple(map(str, listed or ())), text)
