"""The standard error of a weighted mean over items, clustered where items come in groups."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


class Clusters(NamedTuple):
    """Sums over the clusters of items, of shape (clusters,): of weights, and of weights times values."""

    weights: Floats
    totals: Floats


def grouped(values: Sequence[float], weights: Sequence[float] = (), clusters: Sequence[Hashable] = ()) -> Clusters:
    """Sums over clusters, in the order in which they first occur.

    Args:
        values: Of n items.
        weights: Of the items; none: equal.
        clusters: Which one each item belongs to; none: each item is its own.

    Raises:
        ValueError: The lengths differ, there is no item, or no weight is above 0.
    """
    x = np.asarray(values, dtype=np.float64)
    w = np.asarray(weights, dtype=np.float64) if len(weights) else np.ones(len(x))
    if len(w) != len(x) or (len(clusters) and len(clusters) != len(x)):
        raise ValueError(f"one weight and one cluster for each item; got {len(x)}, {len(w)} and {len(clusters)}")
    if not w.sum() > 0.0:
        raise ValueError(f"a mean needs an item with a weight above 0; got {len(x)} items")
    if not len(clusters):
        return Clusters(w, w * x)
    numbers: dict[Hashable, int] = {}
    which = np.array([numbers.setdefault(cluster, len(numbers)) for cluster in clusters])
    return Clusters(np.bincount(which, w).astype(np.float64), np.bincount(which, w * x).astype(np.float64))


def weighted_score(groups: Clusters) -> float:
    """`sum_i w_i x_i / sum_i w_i`."""
    return float(groups.totals.sum() / groups.weights.sum())


def influences(groups: Clusters) -> Floats:
    """How far each cluster pulls the mean: `sum_(i in c) w_i (x_i - mean) / sum_i w_i`, shape (clusters,), sum 0.

    The linearisation of a ratio of sums (Cochran 1977, section 6.3).
    """
    pulls: Floats = (groups.totals - weighted_score(groups) * groups.weights) / groups.weights.sum()
    return pulls


def standard_error(groups: Clusters) -> float:
    """`sqrt(C / (C - 1) * sum_c influence_c^2)` over C clusters; NaN for one.

    With equal weights and an item a cluster this is `s / sqrt(n)`, `s` the sample standard deviation; with clusters
    it is the cluster-robust error that Miller 2024 (arXiv 2411.00640, section 2.2) recommends for evaluations, with
    the correction for few clusters.
    """
    count = len(groups.weights)
    if count < 2:
        return math.nan
    return math.sqrt(count / (count - 1) * float(np.square(influences(groups)).sum()))
