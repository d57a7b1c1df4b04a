"""Points that were run with several seeds."""

from __future__ import annotations

import math

import numpy as np
import pytest

from bai_sweep.records import TrialResult
from bai_sweep.selection import choose
from bai_sweep.selection._replicates import candidate_draws, candidates
from tests.synthetic import RULE, score, trial, verdict


def _at(number: int, alpha: float, seed: int, points: float, **more: object) -> TrialResult:
    from dataclasses import replace

    made = trial(number, {"alpha": alpha, "seed": seed}, scores=[score("b", [points, points, points + 6])], **more)  # type: ignore[arg-type]
    return replace(made, seed=seed)


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


def test_draws_of_a_point_spread_with_its_seeds() -> None:
    point = candidates([_at(0, 0.1, 0, 50), _at(1, 0.1, 1, 60)])
    draws = {0: np.full(40_000, 50.0), 1: np.full(40_000, 60.0)}
    drawn = candidate_draws(point, draws, seed=3)
    assert drawn.shape == (40_000, 1)
    assert drawn.mean() == pytest.approx(55.0, abs=0.1)
    # two draws out of {50, 60}: variance 25 of one, 12.5 of their mean
    assert drawn.std() == pytest.approx(math.sqrt(12.5), rel=0.02)


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
    from dataclasses import replace

    early = replace(trial(0, scores=[score("b", [99, 99])]), pruned="length_collapse is certain at step 9")
    choice = choose([early, trial(1, scores=[score("b", [1, 2])])], RULE, seed=0)
    assert choice.winner == 1
    assert choice.ineligible == {0: "ended early, length_collapse is certain at step 9"}
