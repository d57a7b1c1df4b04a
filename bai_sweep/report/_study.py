"""What a report is made from: a study, its trials, and the points that they repeat."""

from __future__ import annotations

import math
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

from bai_sweep.records import Choice, TrialResult

OVERALL = "overall"


@dataclass(frozen=True)
class TrialSetting:
    """How a trial was set up, from the .hydra folder beside it: the actor's kind, its overrides, the whole config."""

    actor: str
    overrides: tuple[str, ...]
    config: str  # YAML

    @property
    def seed(self) -> int:
        """The trial's seed."""
        return int(yaml.safe_load(self.config).get("seed", 0))

    def values(self) -> dict[str, Any]:
        """The overrides by key."""
        from hydra.core.override_parser.overrides_parser import OverridesParser

        parsed = OverridesParser.create().parse_overrides(list(self.overrides))
        return {override.key_or_group: override.value() for override in parsed}

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
        running: the trials of `pending` that have telemetry: what they have measured so far, with its diagnosis.
        objectives: the metrics that the study optimises, each with `maximize` or `minimize`.
        geometry: by number, how the trial's merge lies to its models, as `geometry.json` of its folder has it.
        spans: by number, when the trial began and when it was last heard of, in seconds since the epoch.
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
    running: tuple[TrialResult, ...] = ()
    objectives: tuple[tuple[str, str], ...] = ()
    geometry: Mapping[int, Mapping[str, Any]] = field(default_factory=dict)
    spans: Mapping[int, tuple[float, float]] = field(default_factory=dict)

    @cached_property
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

    @cached_property
    def ratio_is_swept(self) -> bool:
        """Whether the trials are merges whose alpha differs, so that alpha can be an axis."""
        trials = (*self.results, *self.running)
        alphas = {alpha_of(result) for result in trials}
        merges = all(self.actor(result) in ("bai", "stage1") for result in trials)
        return merges and len(alphas) > 1 and all(math.isfinite(alpha) for alpha in alphas)

    @cached_property
    def ordered(self) -> tuple[TrialResult, ...]:
        """The finished trials by alpha if it is swept, otherwise by number."""
        if self.ratio_is_swept:
            return tuple(sorted(self.results, key=lambda result: (alpha_of(result), result.number)))
        return tuple(sorted(self.results, key=lambda result: result.number))

    @cached_property
    def benchmarks(self) -> tuple[str, ...]:
        """Every benchmark that a trial was scored on, in the order of the evaluation."""
        return tuple(dict.fromkeys(score.benchmark for result in self.ordered for score in result.report.scores))

    def actor(self, result: TrialResult) -> str:
        """`bai`, `paradigm1`, ...: the name of a trial's initial actor."""
        setting = self.settings.get(result.number)
        return setting.actor if setting else str(result.params.get("actor", "bai"))

    @cached_property
    def points(self) -> tuple[Point, ...]:
        """The points of the search space, by alpha if it is swept, else in the order of their first trials."""
        everyone = [*self.ordered, *self.running]
        if self.ratio_is_swept:
            everyone.sort(key=lambda result: (alpha_of(result), result.number))
        groups: dict[str, list[TrialResult]] = {}
        for result in everyone:
            groups.setdefault(_place(result), []).append(result)
        unfinished = {result.number for result in self.running}
        return tuple(
            Point(
                slot,
                tuple(r for r in group if r.number not in unfinished),
                tuple(r for r in group if r.number in unfinished),
            )
            for slot, group in enumerate(groups.values())
        )

    @property
    def finished(self) -> tuple[Point, ...]:
        """The points that have a finished trial."""
        return tuple(point for point in self.points if point.trials)

    @cached_property
    def seed_noise(self) -> Mapping[str, tuple[float, int]]:
        """Of `overall` and each benchmark the variance between seeds of a point, and its degrees of freedom."""
        found = {}
        for name in (OVERALL, *self.benchmarks):
            groups = [values for point in self.finished if len(values := values_of(point, name)) > 1]
            freedom = sum(len(group) - 1 for group in groups)
            squares = math.fsum((v - math.fsum(g) / len(g)) ** 2 for g in groups for v in g)
            if freedom:
                found[name] = squares / freedom, freedom
        return found

    @cached_property
    def repeated(self) -> bool:
        """Whether some point has more than one finished trial."""
        return any(len(point.trials) > 1 for point in self.points)


@dataclass(frozen=True)
class Point:
    """A point of the search space.

    Args:
        slot: its place in the order of the points, from which its colour follows.
        trials: its finished trials.
        running: those that have not ended, as far as they are.
    """

    slot: int
    trials: tuple[TrialResult, ...]
    running: tuple[TrialResult, ...] = ()

    @property
    def first(self) -> TrialResult:
        """The trial whose recipe and parameters stand for all."""
        return (*self.trials, *self.running)[0]

    @property
    def label(self) -> str:
        """Its swept parameters, without the seed unless nothing else is swept."""
        return replace(self.first, params=_without_seed(self.first)).label

    @property
    def alpha(self) -> float:
        """The base model's weight, NaN where it is not swept."""
        return alpha_of(self.first)

    @property
    def colour(self) -> str:
        """Its colour's name in a figure."""
        return f"slot:{self.slot}"


def values_of(point: Point, benchmark: str) -> list[float]:
    """The scores of a point's trials on a benchmark, or `overall`, those that there are."""
    reports = [result.report for result in point.trials]
    found = (
        [report.overall for report in reports]
        if benchmark == OVERALL
        else [score.value for report in reports for score in report.scores if score.benchmark == benchmark]
    )
    return [value for value in found if math.isfinite(value)]


def alpha_of(result: TrialResult) -> float:
    """The base model's weight if the study sweeps it, NaN if not."""
    alpha = result.params.get("alpha")
    return float(alpha) if isinstance(alpha, int | float) else math.nan


def _without_seed(result: TrialResult) -> dict[str, Any]:
    others = {key: value for key, value in result.params.items() if key != "seed"}
    return others or dict(result.params)


def _place(result: TrialResult) -> str:
    """What trials of one point have in common; without anything else that is swept, seeds are what is compared."""
    others = {key: value for key, value in result.params.items() if key != "seed"}
    return repr(sorted(others.items())) if others else f"trial {result.number}"
