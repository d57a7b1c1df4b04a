"""A point's means and how sure they are, and how it is told from others in a figure."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from bai_sweep.records import Score, TrialResult
from bai_sweep.report._palette import FEW
from bai_sweep.report._spec import DASHES
from bai_sweep.report._study import OVERALL, Point, StudyReport, values_of
from bai_sweep.report._table import plain
from bai_sweep.statistics import grouped, standard_error


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


_LONG = 24  # characters of a label, from which on an axis shows the number instead


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
    return [number_of(point) if _are_long(shown) else point.label for point in shown]


def name_of(study: StudyReport, point: Point) -> str:
    """A point's label for a legend, with its number where axes have no room for the label."""
    return f"{number_of(point)} {point.label}" if _are_long(study.points) else point.label


def number_of(point: Point) -> str:
    """`#3`, after its first trial."""
    return f"#{point.first.number}"


def _are_long(shown: Sequence[Point]) -> bool:
    return max((len(point.label) for point in shown), default=0) > _LONG


def score(study: StudyReport, point: Point, benchmark: str) -> Estimate:
    """A point's score on a benchmark, or `overall`, in points.

    The error adds two variances: that of the items, of which all seeds share the same ones, and that of the seeds,
    s^2 / n. As a point has two or three seeds, s^2 is the mean over all points of the study that have several (the
    within-group variance of a one-way analysis of variance); a study without repeats knows nothing of it. The interval
    takes Student's t with the degrees of freedom of Welch and Satterthwaite, the items' own being many.
    """
    variance, freedom = study.seed_noise.get(benchmark, (0.0, 0))
    if benchmark == OVERALL:
        reports = [r.report for r in point.trials if math.isfinite(r.report.overall)]
        names = [s.benchmark for s in reports[0].scores] if reports else []
        each = [_item_error([s for r in reports for s in r.scores if s.benchmark == name]) for name in names]
        items = math.sqrt(math.fsum(error**2 for error in each)) / len(each) if each else math.nan
    else:
        items = _item_error([s for r in point.trials for s in r.report.scores if s.benchmark == benchmark])
    return estimate(values_of(point, benchmark), items, variance, freedom)


def estimate(values: Sequence[float], items: float, variance: float = 0.0, freedom: int = 0) -> Estimate:
    """The mean of values that differ by their seed.

    Args:
        values: one for each seed.
        items: standard error of the mean from the items, NaN where it is not known.
        variance: between seeds.
        freedom: degrees of freedom that it was estimated with.
    """
    if not values:
        return Estimate()
    mean, seeds = math.fsum(values) / len(values), variance / len(values)
    error = math.sqrt(seeds + items**2)
    return Estimate(mean, error, _quantile(seeds, error, freedom) * error, tuple(values))


def mean_of(point: Point, value: Callable[[TrialResult], float]) -> float:
    """The mean of any figure of its trials, NaN where none has it."""
    found = [value(result) for result in point.trials]
    kept = [one for one in found if math.isfinite(one)]
    return math.fsum(kept) / len(kept) if kept else math.nan


def _quantile(seeds: float, error: float, freedom: int) -> float:
    from scipy.stats import t

    if not (seeds > 0.0 and math.isfinite(error)):
        return 1.96
    return float(t.ppf(0.975, freedom * error**4 / seeds**2))


def _item_error(scores: Sequence[Score]) -> float:
    """Of the mean over models that answered the same items: from each item's mean, where the items are there."""
    scores = [score for score in scores if math.isfinite(score.value)]
    if not scores:
        return math.nan
    same = len({(s.n, s.weights, s.clusters) for s in scores}) == 1 and all(len(s.items) == s.n for s in scores)
    if len(scores) > 1 and same and scores[0].n > 1:
        means = np.mean([s.items for s in scores], axis=0)
        return standard_error(grouped(list(means), scores[0].weights, scores[0].clusters))
    return math.fsum(s.stderr for s in scores) / len(scores)
