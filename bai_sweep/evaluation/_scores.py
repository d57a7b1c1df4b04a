"""From a benchmark's items to its score in points, with the standard error over items."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from numbers import Real
from typing import Any

from bai_sweep.config import Benchmark
from bai_sweep.evaluation._items import ItemRecord, key_of_metric, tasks_below
from bai_sweep.records import Score
from bai_sweep.statistics import grouped, standard_error, stratified_error, weighted_score


def score_of(
    name: str,
    benchmark: Benchmark,
    items: Sequence[ItemRecord],
    figures: Mapping[str, float],
    sizes: Mapping[Hashable, int] | None = None,
) -> Score:
    """One benchmark's score: the weighted mean of its items' points.

    The standard error is over items, clustered where documents name what they were drawn together with; NaN for one.

    Args:
        name: The benchmark's.
        benchmark: Says which metric it is.
        items: At least one.
        figures: What the benchmark reports beside it.
        sizes: Of a subset, how many items each stratum has in all; the error that leaving some out adds to the score
            then stands in the figures as `subset_stderr`.
    """
    points = tuple(item.points for item in items)
    weights = _unless_all_alike(tuple(item.weight for item in items))
    clusters = tuple(item.cluster for item in items)
    if len(set(clusters)) == len(items):
        clusters = ()
    groups = grouped(points, weights, clusters)
    if sizes is not None:
        figures = {**figures, "subset_stderr": _subset_error(items, sizes)}
    return Score(
        benchmark=name,
        value=weighted_score(groups),
        stderr=standard_error(groups),
        n=len(items),
        metric=key_of_metric(benchmark),
        items=points,
        weights=weights,
        clusters=clusters,
        figures=figures,
    )


def _subset_error(items: Sequence[ItemRecord], sizes: Mapping[Hashable, int]) -> float:
    points: dict[Hashable, list[float]] = {}
    weights: dict[Hashable, list[float]] = {}
    for item in items:
        points.setdefault(item.stratum, []).append(item.points)
        weights.setdefault(item.stratum, []).append(item.weight)
    return stratified_error(points, weights, sizes)


def figures_of(
    benchmark: Benchmark, results: Mapping[str, Any], loaded: Mapping[str, Any], items: Sequence[ItemRecord]
) -> dict[str, float]:
    """What a benchmark reports beside its score, all times 100: points, or per cent.

    Of a lone task its other metrics, under their names; of a group the scores of its tasks and of the groups in it,
    under theirs, and its tasks' other metrics as `<task>/<metric>`, but those that the group aggregates.
    """
    tasks = list(results["samples"])
    groups = loaded.get("groups") or {}
    aggregated = {rule.metric for group in groups.values() for rule in group.aggregate_metric_list or ()}
    alone = len(tasks) == 1
    found: dict[str, float] = {}
    for task in tasks:
        if not alone:
            found[task] = results["results"][task][key_of_metric(benchmark)]
        others = _other_metrics(benchmark, results["results"][task])
        found |= {(n if alone else f"{task}/{n}"): v for n, v in others.items() if n not in aggregated}
    for name, group in groups.items():
        below = tasks_below(group)
        inside = [item for item in items if item.task in below]
        if inside and len(inside) < len(items):
            means = grouped([item.points for item in inside], [item.weight for item in inside])
            found[name] = weighted_score(means) / 100.0
    return {name: 100.0 * value for name, value in found.items() if math.isfinite(value)}


def _other_metrics(benchmark: Benchmark, results: Mapping[str, Any]) -> dict[str, float]:
    return {
        key.partition(",")[0]: float(value)
        for key, value in results.items()
        if key.endswith(f",{benchmark.filter}")
        and "_stderr" not in key
        and key != key_of_metric(benchmark)
        and isinstance(value, Real)
    }


def _unless_all_alike(weights: tuple[float, ...]) -> tuple[float, ...]:
    return () if max(weights) - min(weights) <= 1e-12 * max(weights) else weights
