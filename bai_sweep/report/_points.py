"""A point's means and how sure they are, and how it is told from others in a figure."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from bai_sweep.records import Score, TrialResult
from bai_sweep.report._palette import FEW
from bai_sweep.report._spec import DASHES
from bai_sweep.report._study import Point, StudyReport
from bai_sweep.report._table import plain
from bai_sweep.statistics import grouped, standard_error

OVERALL = "overall"


@dataclass(frozen=True)
class Estimate:
    """A mean over a point's trials.

    Args:
        value: the mean.
        error: its standard error: the items' noise and, of several seeds, theirs.
        half: half the 95 % interval.
        singles: the trials' own values.
    """

    value: float = math.nan
    error: float = math.nan
    half: float = math.nan
    singles: tuple[float, ...] = ()


def dash_of(point: Point, count: int) -> tuple[int, ...]:
    """The stroke that tells a point's line from others where there are few; many are told by an ordered colour."""
    return DASHES[point.slot] if count <= min(FEW, len(DASHES)) else ()


def is_winner(study: StudyReport, point: Point) -> bool:
    """Whether it is the recommended one."""
    return study.winner is not None and study.winner in point.trials


def is_barred(study: StudyReport, point: Point) -> bool:
    """Whether the rule of selection keeps it out."""
    return study.choice is not None and any(r.number in study.choice.ineligible for r in point.trials)


def places(study: StudyReport, shown: Sequence[Point]) -> list[float | str]:
    """Where each point stands on an x axis: its alpha, or its name."""
    if study.ratio_is_swept:
        return [point.alpha for point in shown]
    keys = {key for point in shown for key in point.first.params if key != "seed"}
    if len(keys) == 1:
        return [plain(point.first.params.get(next(iter(keys)), point.label)) for point in shown]
    return [point.label for point in shown]


def score(point: Point, benchmark: str) -> Estimate:
    """A point's score on a benchmark, or `overall`, in points.

    The error of several seeds adds two variances: that of the items, of which the seeds share the same ones, and that
    of the seeds, s^2 / n. The interval takes Student's t with the degrees of freedom of Welch and Satterthwaite, the
    items' own being many.
    """
    if benchmark == OVERALL:
        reports = [r.report for r in point.trials if math.isfinite(r.report.overall)]
        names = [s.benchmark for s in reports[0].scores] if reports else []
        each = [_item_error([s for r in reports for s in r.scores if s.benchmark == name]) for name in names]
        items = math.sqrt(math.fsum(error**2 for error in each)) / len(each) if each else math.nan
        return estimate([report.overall for report in reports], items)
    scores = [s for r in point.trials for s in r.report.scores if s.benchmark == benchmark and math.isfinite(s.value)]
    return estimate([s.value for s in scores], _item_error(scores))


def estimate(values: Sequence[float], items: float = math.nan) -> Estimate:
    """The mean of values that differ by their seed.

    Args:
        values: one for each seed; those that are not finite are left out.
        items: standard error of the mean from the items, NaN or 0 where there are none.
    """
    kept = tuple(value for value in values if math.isfinite(value))
    if not kept:
        return Estimate()
    mean, count = math.fsum(kept) / len(kept), len(kept)
    if count == 1:
        return Estimate(mean, items, 1.96 * items, kept)
    seeds = math.fsum((v - mean) ** 2 for v in kept) / (count - 1) / count
    error = math.sqrt(seeds + (items**2 if math.isfinite(items) else 0.0))
    return Estimate(mean, error, _quantile(seeds, error, count) * error, kept)


def mean_of(point: Point, value: Callable[[TrialResult], float]) -> Estimate:
    """The mean of any figure of its trials."""
    return estimate([value(result) for result in point.trials])


def _quantile(seeds: float, error: float, count: int) -> float:
    from scipy.stats import t  # type: ignore[import-untyped]

    if seeds == 0.0:
        return 1.96
    return float(t.ppf(0.975, (count - 1) * error**4 / seeds**2))


def _item_error(scores: Sequence[Score]) -> float:
    """Of the mean over models that answered the same items: from each item's mean, where the items are there."""
    if not scores:
        return math.nan
    same = len({(s.n, s.weights, s.clusters) for s in scores}) == 1 and all(len(s.items) == s.n for s in scores)
    if len(scores) > 1 and same and scores[0].n > 1:
        means = np.mean([s.items for s in scores], axis=0)
        return standard_error(grouped(list(means), scores[0].weights, scores[0].clusters))
    return math.fsum(s.stderr for s in scores) / len(scores)
