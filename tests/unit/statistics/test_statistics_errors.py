"""Standard errors against formulas worked by hand and against repeated sampling."""

from __future__ import annotations

import math

import numpy as np
import pytest

from bai_sweep.statistics import grouped, influences, standard_error, weighted_score


def test_with_equal_weights_it_is_the_textbook_error() -> None:
    values = [1.0, 0.0, 0.5, 1.0]
    groups = grouped(values)
    assert weighted_score(groups) == 0.625
    assert standard_error(groups) == pytest.approx(np.std(values, ddof=1) / 2.0, abs=1e-15)


def test_clusters_by_hand() -> None:
    """Two clusters of two: sums of deviations from 0.5 are +1 and -1, over four items."""
    groups = grouped([1.0, 1.0, 0.0, 0.0], clusters=["a", "a", "b", "b"])
    assert influences(groups).tolist() == [0.25, -0.25]
    assert standard_error(groups) == pytest.approx(math.sqrt(2 / 1 * (2 * 0.25**2)), abs=1e-15)
    assert standard_error(grouped([1.0, 1.0, 0.0, 0.0])) < standard_error(groups)


def test_a_weight_of_three_is_an_item_three_times_in_one_cluster() -> None:
    weighted = grouped([1.0, 0.0, 0.5], weights=[3.0, 1.0, 1.0])
    repeated = grouped([1.0, 1.0, 1.0, 0.0, 0.5], clusters=["a", "a", "a", "b", "c"])
    assert weighted_score(weighted) == pytest.approx(weighted_score(repeated), abs=1e-15)
    assert standard_error(weighted) == pytest.approx(standard_error(repeated), abs=1e-15)


def test_the_error_is_the_spread_of_repeated_samples() -> None:
    """400 clusters of three items that share a part of their luck, weights that differ: 4,000 evaluations."""
    rng = np.random.default_rng(0)

    def sample() -> tuple[float, float]:
        shared = rng.normal(size=400)
        values = (shared[:, None] + rng.normal(size=(400, 3))).ravel()
        weights = np.tile([1.0, 2.0, 0.5], 400)
        groups = grouped(values, weights, np.repeat(np.arange(400), 3).tolist())
        return weighted_score(groups), standard_error(groups)

    scores, errors = np.array([sample() for _ in range(4000)]).T
    assert float(np.mean(errors)) == pytest.approx(float(np.std(scores)), rel=0.03)


def test_one_cluster_tells_nothing_of_its_noise() -> None:
    assert math.isnan(standard_error(grouped([1.0, 0.0], clusters=["a", "a"])))


@pytest.mark.parametrize(
    ("values", "weights", "clusters", "said"),
    [
        ([1.0], [1.0, 2.0], [], "one weight and one cluster for each item; got 1, 2 and 0"),
        ([1.0, 2.0], [], ["a"], "got 2, 2 and 1"),
        ([], [], [], "a weight above 0; got 0 items"),
        ([1.0], [0.0], [], "a weight above 0; got 1 items"),
    ],
)
def test_what_makes_no_mean_is_refused(
    values: list[float], weights: list[float], clusters: list[str], said: str
) -> None:
    with pytest.raises(ValueError, match=said):
        grouped(values, weights, clusters)
