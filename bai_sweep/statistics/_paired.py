"""Two models on the same items: how far apart, how surely, and could it be chance."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from bai_sweep.statistics._errors import Clusters, Floats, influences, weighted_score

CHUNK = 4_000_000
"""Random numbers held at a time: 32 MB."""
TIE = 1e-12  # differences closer than this are equal: sums of the same terms in another order


@dataclass(frozen=True)
class Difference:
    """A score less another over the same items.

    Args:
        value: The first less the second, in the unit of the values.
        standard_error: Of the difference, which pairing makes smaller than that of two separate scores.
        low, high: The bootstrap interval's ends.
        p_value: Of the two-sided permutation test of no difference.
        clusters: How many independent groups of items there were.
    """

    value: float
    standard_error: float
    low: float
    high: float
    p_value: float
    clusters: int


def paired_difference(
    one: Clusters, other: Clusters, *, resamples: int = 10_000, confidence: float = 0.95, seed: int = 0
) -> Difference:
    """Compares two scores over the same clusters of items.

    The interval is the percentile bootstrap over clusters, the same ones for both (Efron and Tibshirani 1993, chapter
    13); the test exchanges the two models cluster by cluster at random (Fisher's randomisation test for pairs; Noreen
    1989), with `p = (1 + as extreme) / (1 + resamples)`, which is never 0.

    Args:
        one, other: From `grouped`, with the same clusters in the same order.
        resamples: Of the bootstrap and of the test, each.
        confidence: Of the interval.
        seed: Of both.

    Raises:
        ValueError: The numbers of clusters differ, or there are fewer than two.
    """
    count = len(one.weights)
    if len(other.weights) != count or count < 2:
        raise ValueError(
            f"a paired comparison needs the same clusters, two at least; got {count} and {len(other.weights)}"
        )
    rng = np.random.default_rng(seed)
    value = weighted_score(one) - weighted_score(other)
    pulls = influences(one) - influences(other)
    tail = 100.0 * (1.0 - confidence) / 2.0
    low, high = np.percentile(_bootstrap(one, other, resamples, rng), [tail, 100.0 - tail])
    exchanged = _exchanged(one, other, resamples, rng)
    extreme = int((np.abs(exchanged) >= abs(value) - TIE).sum())
    return Difference(
        value=value,
        standard_error=float(np.sqrt(count / (count - 1) * np.square(pulls).sum())),
        low=float(low),
        high=float(high),
        p_value=(1 + extreme) / (1 + resamples),
        clusters=count,
    )


def _bootstrap(one: Clusters, other: Clusters, resamples: int, rng: np.random.Generator) -> Floats:
    """Differences over clusters drawn with replacement, of shape (resamples,)."""
    count = len(one.weights)

    def draw(rows: int) -> Floats:
        times = rng.multinomial(count, np.full(count, 1 / count), size=rows).astype(np.float64)
        return _ratio(times @ one.totals, times @ one.weights) - _ratio(times @ other.totals, times @ other.weights)

    return _in_chunks(draw, resamples, count)


def _exchanged(one: Clusters, other: Clusters, resamples: int, rng: np.random.Generator) -> Floats:
    """Differences after each cluster's values went to the other model with probability 1/2, of shape (resamples,)."""
    count = len(one.weights)
    totals, weights = other.totals - one.totals, other.weights - one.weights

    def draw(rows: int) -> Floats:
        swapped = rng.integers(0, 2, size=(rows, count)).astype(np.float64)
        moved, weighed = swapped @ totals, swapped @ weights
        return _ratio(one.totals.sum() + moved, one.weights.sum() + weighed) - _ratio(
            other.totals.sum() - moved, other.weights.sum() - weighed
        )

    return _in_chunks(draw, resamples, count)


def _ratio(totals: Floats, weights: Floats) -> Floats:
    """0 where nothing was drawn that weighs anything."""
    ratio: Floats = np.divide(totals, weights, out=np.zeros_like(totals), where=weights > 0.0)
    return ratio


def _in_chunks(draw: Callable[[int], Floats], resamples: int, count: int) -> Floats:
    rows = max(1, CHUNK // count)
    return np.concatenate([draw(min(rows, resamples - start)) for start in range(0, resamples, rows)])
