"""Points that were run with several seeds, and how sure they make a comparison."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy import stats

from bai_sweep.records import TrialResult
from bai_sweep.selection import choose
from bai_sweep.selection._candidates import candidates
from bai_sweep.selection._measure import Measured, measure
from bai_sweep.selection._objective import score_objective
from tests.synthetic import RULE, score, trial, verdict


def _at(number: int, alpha: float, seed: int, points: float, **more: Any) -> TrialResult:
    made = trial(number, {"alpha": alpha, "seed": seed}, scores=[score("b", [points, points, points + 6])], **more)
    return replace(made, seed=seed)


def _constant(number: int, alpha: float, seed: int, points: float) -> TrialResult:
    """A trial whose items are all alike, so that seeds are all the noise there is."""
    return replace(
        trial(number, {"alpha": alpha, "seed": seed}, scores=[score("b", [points, points])]),
        seed=seed,
    )


def _study(values: Sequence[Sequence[float]]) -> list[TrialResult]:
    """A row of values is a point, a value a seed."""
    placed = [(point, seed, value) for point, row in enumerate(values) for seed, value in enumerate(row)]
    return [_constant(k, 0.1 * point, seed, value) for k, (point, seed, value) in enumerate(placed)]


def _measured(results: Sequence[TrialResult], resamples: int = 40_000) -> Measured:
    return measure(candidates(results), score_objective("b"), resamples, 0)


def test_a_point_has_the_mean_of_its_seeds_and_the_error_of_that_mean() -> None:
    first, second = candidates([_at(0, 0.1, 0, 50), _at(1, 0.1, 1, 56), _at(2, 0.5, 0, 40), _at(3, 0.5, 1, 40)])
    assert first.result.params == {"alpha": 0.1}
    assert first.result.report.overall == pytest.approx(55.0)  # means of 52 and 58
    assert first.result.report.overall_stderr == pytest.approx(3.0)  # |52 - 58| / sqrt(2) / sqrt(2)
    assert [m.number for m in second.members] == [2, 3]
    assert second.result.report.overall_stderr == 0.0


def test_without_another_swept_key_seeds_are_candidates_themselves() -> None:
    results = [trial(n, {"seed": n}, scores=[score("b", [n, n])]) for n in range(3)]
    assert [len(candidate.members) for candidate in candidates(results)] == [1, 1, 1]


def test_a_point_tried_again_with_the_same_seed_is_no_replicate() -> None:
    again = candidates([_at(0, 0.1, 0, 50), _at(1, 0.1, 1, 50), _at(2, 0.1, 0, 50)])
    assert [[m.number for m in candidate.members] for candidate in again] == [[0, 1], [2]]


def test_trials_of_another_study_are_further_seeds_of_the_same_points() -> None:
    others = [_at(-1, 0.1, 1, 60), _at(-2, 0.1, 0, 99), _at(-3, 0.9, 0, 99)]  # new seed; a seed it has; no such point
    (point,) = candidates([_at(0, 0.1, 0, 50)], others)
    assert point.seeds == (0, 1)
    assert point.result.report.overall == pytest.approx(57.0)
    assert point.label == "alpha=0.1"


def test_pooled_seed_noise_gives_students_interval() -> None:
    """Items all alike: the interval of a difference is the two-sample t interval, of a mean the pooled one."""
    rows = [[50.0, 54.0, 49.0], [60.0, 57.0, 63.0]]
    measured = _measured(_study(rows), 400_000)
    exact = stats.ttest_ind(rows[1], rows[0]).confidence_interval(0.95)
    value, interval = measured.difference(1, 0)
    assert value == pytest.approx(60.0 - 51.0)
    assert interval == pytest.approx((exact.low, exact.high), abs=0.12)
    pooled = (np.var(rows[0], ddof=1) + np.var(rows[1], ddof=1)) / 2
    assert (measured.seed_noise.between, measured.seed_noise.dof) == (pytest.approx(pooled), 4)
    reach = stats.t(4).ppf(0.975) * math.sqrt(pooled / 3)
    assert measured.intervals()[:, 0] == pytest.approx([51.0 - reach, 51.0 + reach], abs=0.12)
    assert measured.chance_ahead(1, 0) == pytest.approx(stats.t(4).cdf(9.0 / math.sqrt(pooled * 2 / 3)), abs=0.003)


def test_joint_intervals_are_tukeys() -> None:
    """With equal variances, and points each of which may lead, the intervals of all pairs at once are Tukey's."""
    rows = [[50.0, 54.0, 49.0], [54.0, 52.0, 57.0], [52.0, 49.0, 53.0], [51.0, 51.5, 56.0]]
    measured = _measured(_study(rows), 200_000)
    behind, (low, high) = measured.behind(1)
    exact = stats.tukey_hsd(*rows).confidence_interval(0.95)
    for other in (0, 2, 3):
        assert behind[other] == pytest.approx(np.mean(rows[1]) - np.mean(rows[other]))
        assert (low[other], high[other]) == pytest.approx((exact.low[1, other], exact.high[1, other]), abs=0.15)


def test_what_items_explain_is_not_counted_twice() -> None:
    """Seeds that differ by chance answers alone: the noise of seeds is about nil, the interval that of the items."""
    rng = np.random.default_rng(3)
    results = [
        replace(
            trial(k, {"alpha": 0.1 * (k // 5), "seed": k % 5}, scores=[score("b", 100.0 * (rng.random(400) < 0.6))]),
            seed=k % 5,
        )
        for k in range(20)
    ]
    measured = _measured(results, 4000)
    single = 100.0 * math.sqrt(0.6 * 0.4 / 400)
    assert math.sqrt(measured.seed_noise.between) == pytest.approx(single, rel=0.4)  # 16 degrees of freedom
    assert math.sqrt(measured.seed_noise.items) == pytest.approx(single, rel=0.05)
    low, high = measured.intervals()[:, 0]
    assert (high - low) / 2 == pytest.approx(1.96 * single / math.sqrt(5), rel=0.45)


def test_without_training_there_is_no_noise_of_seeds() -> None:
    results = [replace(result, telemetry=()) for result in _study([[50.0, 54.0], [60.0, 60.0]])]
    measured = _measured(results, 1000)
    assert measured.seed_noise.dof == 0
    assert measured.intervals()[:, 0] == pytest.approx([52.0, 52.0])


def test_the_better_mean_wins_and_one_bad_seed_rules_a_point_out() -> None:
    good = [_at(0, 0.1, 0, 50), _at(1, 0.1, 1, 60), _at(2, 0.5, 0, 58), _at(3, 0.5, 1, 40)]
    choice = choose(good, RULE, seed=0)
    assert choice.winner == 0
    assert choice.best_probability[0] == choice.best_probability[1]
    collapsed = _at(1, 0.1, 1, 60, verdicts=[verdict("length_collapse", "certain", 4)])
    choice = choose([good[0], collapsed, *good[2:]], RULE, seed=0)
    assert choice.winner == 2
    assert choice.ineligible.keys() == {0, 1}
    assert choice.ineligible[0] == "seed 1: length collapse is certain from step 4"


def test_a_trial_that_was_ended_early_may_not_win() -> None:
    early = replace(trial(0, scores=[score("b", [99, 99])]), pruned="length_collapse is certain at step 9")
    choice = choose([early, trial(1, scores=[score("b", [1, 2])])], RULE, seed=0)
    assert choice.winner == 1
    assert choice.ineligible == {0: "ended early, length_collapse is certain at step 9"}


def test_seeds_are_said_to_be_unknown_with_one_and_measured_with_more() -> None:
    single = choose(_study([[50.0], [60.0]]), RULE, 0)
    assert "with one seed a point, the noise of training is not known" in single.reason
    assert math.isnan(single.seed_noise)
    several = choose(_study([[50.0, 52.0], [60.0, 62.0]]), RULE, 0)
    assert several.seed_noise == pytest.approx(math.sqrt(2.0))
    assert "Training seeds differ by 1.4 points (standard deviation, 2 degrees of freedom)" in several.reason
