"""Studies side by side: their best points, what differs between their settings, and paired differences of scores."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np

from bai_sweep.records import Score, UserError
from bai_sweep.report._cost import duration
from bai_sweep.report._points import Estimate, mean_of, score
from bai_sweep.report._study import OVERALL, Point, StudyReport
from bai_sweep.report._table import ABSENT, Table, number, with_error
from bai_sweep.statistics import Clusters, Difference, grouped, holm, paired_difference

Settings = Mapping[str, Any]
_OWN = ("study", "results_dir", "resume", "force", "workers", "threads", "tracking.")  # says nothing of the results


@dataclass(frozen=True)
class Side:
    """A study in a comparison.

    Args:
        study: its report.
        settings: its configuration, flattened: values by dotted key.
    """

    study: StudyReport
    settings: Settings

    @property
    def best(self) -> Point | None:
        """The recommended point; where none may win, the one with the best score; None without a finished trial."""
        points = self.study.finished
        winners = [point for point in points if self.study.winner in point.trials]
        scored = [point for point in points if math.isfinite(score(self.study, point, OVERALL).value)]
        ranked = sorted(scored, key=lambda point: -score(self.study, point, OVERALL).value)
        return next(iter([*winners, *ranked, *points]), None)


@dataclass(frozen=True)
class Comparison:
    """What is shown of some studies.

    Args:
        sides: the studies, two at least.
        shared: benchmarks that all of them have, in the order of the first.
        absent: of each other benchmark the studies that lack it.
    """

    sides: tuple[Side, ...]
    shared: tuple[str, ...]
    absent: Mapping[str, tuple[str, ...]]

    @property
    def names(self) -> tuple[str, ...]:
        """The studies' names."""
        return tuple(side.study.name for side in self.sides)


def compared(sides: Sequence[Side]) -> Comparison:
    """Finds what studies share.

    Raises:
        UserError: fewer than two, a study without a finished trial, or no benchmark in common.
    """
    if len(sides) < 2:
        raise UserError(f"a comparison is of two studies at least; got {len(sides)}; give studies=a,b")
    for side in sides:
        if not side.study.results:
            raise UserError(f"study {side.study.name} has no finished trial to compare; wait for one")
    known = {side.study.name: set(side.study.benchmarks) for side in sides}
    every = list(dict.fromkeys(name for side in sides for name in side.study.benchmarks))
    shared = tuple(name for name in every if all(name in found for found in known.values()))
    if every and not shared:
        listed = "; ".join(f"{name}: {', '.join(sorted(found)) or 'none'}" for name, found in known.items())
        raise UserError(f"studies are compared by a benchmark that all of them have; these have none ({listed})")
    lacking = {name: tuple(s for s, found in known.items() if name not in found) for name in every}
    return Comparison(tuple(sides), shared, {name: lack for name, lack in lacking.items() if lack})


def mean_score(side: Side, point: Point, shared: Sequence[str], whole: bool) -> Estimate:
    """The mean of the shared benchmarks: `overall` itself where the studies have the same ones."""
    if whole:
        return score(side.study, point, OVERALL)
    found = [score(side.study, point, name) for name in shared]
    count = len(found) or 1
    error = math.sqrt(math.fsum(one.error**2 for one in found)) / count
    half = math.sqrt(math.fsum(one.half**2 for one in found)) / count
    return Estimate(math.fsum(one.value for one in found) / count, error, half)


def mean_name(comparison: Comparison) -> str:
    """What the mean of the shared benchmarks is called."""
    return "mean of shared" if comparison.absent else OVERALL


def best_table(comparison: Comparison, *, benchmarks: bool = True) -> Table:
    """A row for each study: its best point, scores with standard errors, KL, length, verdict, time of a trial.

    Args:
        comparison: what is compared.
        benchmarks: whether each has a column, and the time; a terminal has no room for them.
    """
    mean = mean_name(comparison)
    if not benchmarks:
        whole = best_table(comparison)
        kept = [k for k, name in enumerate(whole.columns[:-1]) if name not in comparison.shared]
        return Table(tuple(whole.columns[k] for k in kept), tuple(tuple(row[k] for k in kept) for row in whole.rows))
    columns = ("study", "best", "seeds", mean, *comparison.shared, "KL", "length", "training", "a trial takes")
    return Table(columns, tuple(_best_row(comparison, side) for side in comparison.sides))


def _best_row(comparison: Comparison, side: Side) -> tuple[str, ...]:
    point, study = side.best, side.study
    if point is None:
        return (study.name, *(ABSENT,) * (7 + len(comparison.shared)))
    scores = [
        mean_score(side, point, comparison.shared, not comparison.absent),
        *(score(study, point, name) for name in comparison.shared),
    ]
    length = mean_of(point, lambda r: r.diagnosis.length_ratio)
    verdicts = dict.fromkeys(r.diagnosis.summary().replace("_", " ") for r in point.trials)
    return (
        study.name,
        point.label if study.winner in point.trials else f"{point.label} (not recommended)",
        str(len(point.trials)),
        *(with_error(one.value, one.error) for one in scores),
        number(mean_of(point, lambda r: r.diagnosis.final_kl), 2),
        ABSENT if math.isnan(length) else f"{length:.2f}x",
        ", ".join(verdicts),
        duration(mean_of(point, lambda r: math.fsum(r.seconds.values()))),
    )


def settings_table(comparison: Comparison) -> Table:
    """The settings whose values differ between the studies; a key that a study sweeps shows its values there."""
    found = [_with_swept(side) for side in comparison.sides]
    keys = dict.fromkeys(key for settings in found for key in settings if not key.startswith(_OWN))
    rows = [(key, *(settings.get(key, ABSENT) for settings in found)) for key in keys]
    differing = tuple(row for row in rows if len(set(row[1:])) > 1)
    note = "" if differing else "The studies have the same settings."
    return Table(("setting", *comparison.names), differing, note=note)


def _with_swept(side: Side) -> dict[str, str]:
    shown = {key: str(value) for key, value in side.settings.items()}
    for key in dict.fromkeys(key for result in side.study.results for key in result.params):
        values = list(dict.fromkeys(str(result.params.get(key, ABSENT)) for result in side.study.ordered))
        listed = ", ".join(values[:8]) + (f", ... ({len(values)})" if len(values) > 8 else "")
        shown = {name: value for name, value in shown.items() if not name.startswith(f"{key}.")}
        shown[key] = f"swept: {listed}"
    return shown


@dataclass(frozen=True)
class Paired:
    """The best of one study less the best of another, on one benchmark.

    Args:
        difference: over the same items; None where they are not the same, for the reason `why`.
        seeds: standard error that the seeds add, NaN where a study did not repeat its points.
        adjusted: the p-value after Holm's correction for all that are made together.
    """

    benchmark: str
    one: str
    other: str
    difference: Difference | None
    seeds: float = math.nan
    adjusted: float = math.nan
    why: str = ""


def paired(comparison: Comparison, *, resamples: int = 10_000, seed: int = 0) -> list[Paired]:
    """Every two studies' best points on every shared benchmark; means over seeds, item by item."""
    found = []
    for one, other in combinations(comparison.sides, 2):
        for name in comparison.shared:
            pair = one.study.name, other.study.name
            clusters, why = _same_items(one, other, name)
            if clusters is None:
                found.append(Paired(name, *pair, None, why=why))
                continue
            difference = paired_difference(*clusters, resamples=resamples, seed=seed)
            found.append(Paired(name, *pair, difference, _seed_error(one, other, name)))
    tested = [k for k, entry in enumerate(found) if entry.difference is not None]
    adjusted = holm([d.p_value for k in tested if (d := found[k].difference) is not None]) if tested else []
    for k, p in zip(tested, adjusted, strict=True):
        entry = found[k]
        found[k] = Paired(entry.benchmark, entry.one, entry.other, entry.difference, entry.seeds, p)
    return found


def _same_items(one: Side, other: Side, name: str) -> tuple[tuple[Clusters, Clusters] | None, str]:
    """Sums over the clusters of items that both answered, or why there are none."""
    scores = [_scores(side, name) for side in (one, other)]
    if not all(scores):
        return None, "a best point has no score"
    everyone = [score for side in scores for score in side]
    if any(len(score.items) != score.n for score in everyone):
        return None, "items are not stored"
    if len({(score.n, score.clusters) for score in everyone}) > 1 or _evaluated(one, name) != _evaluated(other, name):
        return None, "the items are not the same"
    if len(set(everyone[0].clusters) or range(everyone[0].n)) < 2:
        return None, "fewer than two items"
    return (_pooled(scores[0]), _pooled(scores[1])), ""


def _scores(side: Side, name: str) -> list[Score]:
    trials = side.best.trials if side.best else ()
    return [score for result in trials for score in result.report.scores if score.benchmark == name]


def _pooled(scores: Sequence[Score]) -> Clusters:
    """The seeds' items as one: each item has its mean, and its mean weight."""
    groups = [grouped(score.items, score.weights, score.clusters) for score in scores]
    return Clusters(np.mean([g.weights for g in groups], axis=0), np.mean([g.totals for g in groups], axis=0))


def _evaluated(side: Side, name: str) -> dict[str, Any]:
    """The settings that decide which items a benchmark has."""
    which = (f"evaluation.benchmarks.{name}.", "evaluation.subset", "evaluation.seed")
    return {key: value for key, value in side.settings.items() if key.startswith(which)}


def _seed_error(one: Side, other: Side, name: str) -> float:
    parts = []
    for side in (one, other):
        noise = side.study.seed_noise.get(name)
        parts.append(noise[0] / len(side.best.trials) if noise and side.best else math.nan)
    return math.sqrt(math.fsum(parts))


def paired_table(entries: Sequence[Paired]) -> Table:
    """Benchmark, studies, difference, interval, p, noise of the seeds."""
    columns = ("benchmark", "best of", "difference", "95 % interval", "p (Holm)", "± seeds")
    return Table(columns, tuple(map(_paired_row, entries)))


def _paired_row(entry: Paired) -> tuple[str, ...]:
    pair, d = f"{entry.one} - {entry.other}", entry.difference
    if d is None:
        return (entry.benchmark, pair, ABSENT, entry.why, ABSENT, ABSENT)
    shown = f"{d.value:+.1f} ± {d.standard_error:.1f}", f"{d.low:+.1f} to {d.high:+.1f}", f"{entry.adjusted:.4f}"
    return (entry.benchmark, pair, *shown, number(entry.seeds))
