"""Paired differences: by hand, against SciPy's tests, and their rates over many simulated comparisons."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from bai_sweep.statistics import grouped, holm, paired_difference, weighted_score


def test_value_and_error_are_those_of_the_items_differences() -> None:
    one, other = [1.0, 1.0, 0.0, 1.0, 0.5], [0.0, 1.0, 0.0, 0.5, 1.0]
    difference = paired_difference(grouped(one), grouped(other))
    each = np.subtract(one, other)
    assert difference.value == pytest.approx(each.mean(), abs=1e-15)
    assert difference.standard_error == pytest.approx(each.std(ddof=1) / np.sqrt(5), abs=1e-15)
    assert difference.clusters == 5


def test_the_test_is_scipys_permutation_test() -> None:
    rng = np.random.default_rng(1)
    one, other = rng.normal(0.3, 1.0, 60), rng.normal(0.0, 1.0, 60)
    ours = paired_difference(grouped(one.tolist()), grouped(other.tolist()), resamples=20_000)
    theirs = stats.permutation_test(
        (one, other),
        lambda a, b, axis: np.mean(a - b, axis=axis),
        permutation_type="samples",
        n_resamples=20_000,
        vectorized=True,
        rng=np.random.default_rng(0),
    )
    assert ours.p_value == pytest.approx(theirs.pvalue, abs=0.01)


def test_the_interval_is_scipys_percentile_bootstrap() -> None:
    rng = np.random.default_rng(2)
    each = rng.exponential(1.0, 80)
    ours = paired_difference(grouped(each.tolist()), grouped([0.0] * 80), resamples=20_000)
    theirs = stats.bootstrap((each,), np.mean, method="percentile", n_resamples=20_000, rng=np.random.default_rng(0))
    assert (ours.low, ours.high) == pytest.approx(tuple(theirs.confidence_interval), abs=0.02)


def test_models_that_answer_alike_do_not_differ() -> None:
    values = grouped([1.0, 0.0, 1.0])
    same = paired_difference(values, values)
    assert (same.value, same.standard_error, same.low, same.high, same.p_value) == (0.0, 0.0, 0.0, 0.0, 1.0)


def test_rates_over_simulated_comparisons_with_clusters_and_unequal_weights() -> None:
    """Of 400 pairs of equal models about 5 % are called different, and about 95 % of the intervals hold 0."""
    rng = np.random.default_rng(3)
    clusters = np.repeat(np.arange(60), 2).tolist()
    covered = rejected = 0
    for _ in range(400):
        hard = np.repeat(rng.normal(size=60), 2)
        pair = [
            grouped(
                (hard + rng.normal(size=120) + np.repeat(rng.normal(size=60), 2) > 0).astype(float).tolist(),
                rng.choice([1.0, 3.0], 120).tolist(),
                clusters,
            )
            for _ in range(2)
        ]
        difference = paired_difference(pair[0], pair[1], resamples=400)
        covered += difference.low <= 0.0 <= difference.high
        rejected += difference.p_value <= 0.05
    assert 0.92 <= covered / 400 <= 0.98
    assert 0.02 <= rejected / 400 <= 0.08


def test_a_true_difference_is_found_by_pairing_where_separate_errors_would_not() -> None:
    rng = np.random.default_rng(4)
    hard = rng.normal(size=300) * 3.0
    one, other = hard + 0.3 + rng.normal(size=300) * 0.5, hard + rng.normal(size=300) * 0.5
    difference = paired_difference(grouped(one.tolist()), grouped(other.tolist()))
    assert difference.p_value < 0.001
    assert difference.standard_error < 0.3 * np.std(one, ddof=1) / np.sqrt(300)


def test_the_seed_decides() -> None:
    one, other = grouped([1.0, 0.0, 1.0, 1.0]), grouped([0.0, 0.0, 1.0, 0.0])
    assert paired_difference(one, other, seed=1) == paired_difference(one, other, seed=1)
    assert weighted_score(one) - weighted_score(other) == paired_difference(one, other).value


def test_other_clusters_cannot_be_paired() -> None:
    with pytest.raises(ValueError, match="the same clusters, two at least; got 2 and 3"):
        paired_difference(grouped([1.0, 0.0]), grouped([1.0, 0.0, 1.0]))


def test_holm_by_hand() -> None:
    """Times 4, 3, 2, 1 from the smallest on, never falling, at most 1."""
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02], abs=1e-15)
    assert holm([0.6, 0.7]) == [1.0, 1.0]
    assert holm([]) == []
