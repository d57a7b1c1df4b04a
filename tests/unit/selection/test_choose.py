"""Selection against hand-made cases, brute force, and what probability theory asks of it."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import replace
from random import Random
from statistics import NormalDist
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bai_sweep.records import Score, StepTelemetry, TrialResult
from bai_sweep.selection import best_probabilities, choose
from bai_sweep.selection._draws import benchmark_draws
from tests.synthetic import RULE, score, trial, verdict

LOW, MIDDLE, HIGH = [0.0] * 20, [0.0, 100.0] * 10, [100.0] * 20


def one(number: int, items: Sequence[float], **more: Any) -> TrialResult:
    return trial(number, scores=[score("knowledge", items)], **more)


def test_the_best_overall_score_wins() -> None:
    choice = choose([one(1, MIDDLE), one(2, HIGH), one(3, LOW)], RULE, seed=0)
    assert (choice.winner, choice.ranking, choice.clear) == (2, (2, 1, 3), True)
    assert choice.best_probability == {1: 0.0, 2: 1.0, 3: 0.0}
    assert "alpha=0.2 scores 100.0 points overall (100.0 to 100.0), 50.0 ahead of alpha=0.1 (2" in choice.reason
    assert "probability over 0.99" in choice.reason


def test_a_certain_fault_bars_the_best_score_and_is_said() -> None:
    collapsed = one(2, HIGH, verdicts=[verdict("length_collapse", "certain", 4)])
    choice = choose([one(1, LOW), collapsed, one(3, MIDDLE)], RULE, seed=0)
    assert choice.winner == 3
    assert choice.best_probability[2] == 0.0
    assert dict(choice.ineligible) == {2: "length collapse is certain from step 4"}
    assert "alpha=0.2, though it scores 100.0 (length collapse is certain from step 4)" in choice.reason


def test_suspected_faults_go_by_the_rule() -> None:
    results = [one(1, LOW), one(2, HIGH, verdicts=[verdict("kl_blow_up", "suspected", 9)])]
    assert choose(results, RULE, 0).winner == 2
    assert choose(results, RULE.model_copy(update={"suspected_bars": "all"}), 0).winner == 1
    assert choose(results, RULE.model_copy(update={"suspected_bars": ("kl_blow_up",)}), 0).winner == 1
    assert choose(results, RULE.model_copy(update={"suspected_bars": ("length_collapse",)}), 0).winner == 2


def test_certain_faults_bar_by_the_detectors_that_are_named() -> None:
    results = [one(1, LOW), one(2, HIGH, verdicts=[verdict("reward_hockey_stick", "certain", 9)])]
    assert choose(results, RULE, 0).winner == 1
    assert choose(results, RULE.model_copy(update={"certain_bars": ("length_collapse",)}), 0).winner == 2


@pytest.mark.parametrize(
    ("limit", "reason"),
    [
        ({"max_kl": 5.0}, "final KL 9 is over max_kl 5"),
        ({"min_length_ratio": 0.5}, "length ratio 0.3 is below min_length_ratio 0.5"),
    ],
)
def test_budgets(limit: dict[str, float], reason: str) -> None:
    results = [one(1, LOW), one(2, HIGH, final_kl=9.0, length_ratio=0.3)]
    choice = choose(results, RULE.model_copy(update=limit), 0)
    assert (choice.winner, dict(choice.ineligible)) == (1, {2: reason})


def test_an_unknown_kl_keeps_no_budget_unless_there_was_no_rl() -> None:
    diverged = one(1, HIGH, final_kl=math.nan)
    untrained = one(2, LOW, final_kl=math.nan, telemetry=())
    assert choose([diverged, untrained], RULE.model_copy(update={"max_kl": 5.0}), 0).ranking == (2,)


def test_an_incomplete_evaluation_is_not_eligible() -> None:
    whole = trial(1, scores=[score("knowledge", LOW), score("arena", LOW)])
    lacking = one(2, HIGH)
    skipped = one(3, HIGH, missing={"arena": "no judge"})
    nan = trial(4, scores=[score("knowledge", LOW), Score("arena", math.nan, math.nan, 0, "acc")])
    choice = choose([whole, lacking, skipped, nan, trial(5)], RULE, 0)
    assert choice.winner == 1
    assert choice.ineligible[2] == choice.ineligible[3] == "no complete score: arena missing"
    assert choice.ineligible[4] == "no complete score: arena missing"
    assert "arena, knowledge missing" in choice.ineligible[5]


def test_nobody_eligible_says_why() -> None:
    choice = choose([one(1, HIGH, verdicts=[verdict("length_collapse", "certain", 4)]), trial(2)], RULE, 0)
    assert (choice.winner, choice.ranking, choice.clear) == (None, (), False)
    assert choice.reason.startswith("No trial is eligible")
    assert "alpha=0.1 (length collapse is certain from step 4)" in choice.reason
    assert "knowledge missing" in choice.reason


def test_no_trials_at_all() -> None:
    choice = choose([], RULE, 0)
    assert choice.winner is None
    assert "No trial has finished" in choice.reason


def test_a_noisy_lead_is_called_unclear() -> None:
    rng = np.random.default_rng(0)
    better, worse = (100.0 * (rng.permutation(100) < k) for k in (52, 50))
    choice = choose([one(1, worse), one(5, better)], RULE, seed=0)
    assert choice.winner == 5
    assert not choice.clear
    assert "alpha=0.5 leads by 2.0 points" in choice.reason
    assert "only: not clear; runner-up alpha=0.1 (0." in choice.reason


def test_only_one_eligible_or_only_one_at_all() -> None:
    alone = choose([one(1, HIGH)], RULE, 0)
    assert (alone.winner, alone.clear) == (1, False)
    assert "the only trial: there is nothing to compare it with" in alone.reason
    left = choose([one(1, HIGH), one(2, HIGH, verdicts=[verdict("x", "certain")])], RULE, 0)
    assert (left.winner, left.clear) == (1, True)
    assert "the only eligible trial" in left.reason


def test_equal_scores_share_the_probability_and_the_smaller_kl_ranks_first() -> None:
    choice = choose([one(1, MIDDLE, final_kl=3.0), one(2, MIDDLE, final_kl=2.0)], RULE, 0)
    assert choice.best_probability == {1: 0.5, 2: 0.5}
    assert (choice.ranking, choice.clear) == ((2, 1), False)
    assert "ties with alpha=0.1" in choice.reason


def test_two_equally_good_trials_are_each_best_half_of_the_time() -> None:
    """Over many evaluations of two models of one true skill, P(best) averages 0.5."""
    rng = np.random.default_rng(1)
    shares = []
    for _ in range(200):
        pair = [one(k, 100.0 * (rng.random(60) < 0.6)) for k in (1, 2)]
        shares.append(choose(pair, RULE.model_copy(update={"bootstrap": 200}), seed=0).best_probability[1])
    assert np.mean(shares) == pytest.approx(0.5, abs=0.07)


def test_bootstrap_is_exact_where_every_resample_can_be_listed() -> None:
    """Four items have 4**4 equally likely resamples: all listed by hand here, sampled there."""
    columns = [100.0, 0.0, 50.0, 20.0], [0.0, 100.0, 60.0, 10.0], [30.0, 30.0, 30.0, 90.0]
    exact = np.zeros(3)
    for indices in itertools.product(range(4), repeat=4):
        # deviations are widened by sqrt(n / (n - 1)), so that their variance is the squared standard error
        means = [
            sum(items) / 4 + math.sqrt(4 / 3) * (sum(items[i] for i in indices) - sum(items)) / 4 for items in columns
        ]
        best = [k for k in range(3) if means[k] > max(means) - 1e-9]
        exact[best] += 1 / len(best) / 4**4
    drawn = benchmark_draws([one(k, items) for k, items in enumerate(columns)], ["knowledge"], 100_000, seed=3)
    draws = drawn["knowledge"]
    assert draws.std(axis=0) == pytest.approx([score("knowledge", items).stderr for items in columns], rel=0.01)
    assert best_probabilities(draws) == pytest.approx(exact, abs=0.006)  # 4 standard errors of 100,000 draws


def test_pairing_sees_a_small_steady_lead() -> None:
    """One item better on every question is certain, however hard the questions vary."""
    hard = np.linspace(0, 90, 50)
    choice = choose([one(1, hard), one(2, hard + 0.5)], RULE, 0)
    assert choice.best_probability[2] == 1.0


def test_benchmarks_weigh_alike_whatever_their_size() -> None:
    results = [
        trial(1, scores=[score("big", [60.0] * 500), score("small", [0.0] * 5)]),
        trial(2, scores=[score("big", [50.0] * 500), score("small", [20.0] * 5)]),
    ]
    choice = choose(results, RULE, 0)
    assert [s.value for s in choice.standings] == [35.0, 30.0]
    assert [(s.low, s.high) for s in choice.standings] == [(35.0, 35.0), (30.0, 30.0)]


def test_without_items_the_standard_error_is_the_noise() -> None:
    results = [trial(k, scores=[Score("knowledge", v, 3.0, 100, "acc")]) for k, v in ((1, 50.0), (2, 52.0))]
    choice = choose(results, RULE.model_copy(update={"bootstrap": 50_000}), 0)
    difference = NormalDist(2.0, math.hypot(3.0, 3.0))
    assert choice.best_probability[2] == pytest.approx(1 - difference.cdf(0.0), abs=0.01)


def test_scores_without_any_error_are_never_clear() -> None:
    results = [trial(k, scores=[Score("knowledge", 50.0 + k, math.nan, 1, "acc")]) for k in (1, 2)]
    choice = choose(results, RULE, 0)
    assert (choice.winner, choice.clear) == (2, False)
    assert "the noise is not known" in choice.reason


items = st.lists(st.integers(0, 100).map(float), min_size=6, max_size=6)


@settings(max_examples=60, deadline=None)
@given(st.lists(items, min_size=1, max_size=5), st.sets(st.integers(0, 4)), st.randoms())
def test_what_holds_for_every_study(columns: list[list[float]], collapsed: set[int], random: Random) -> None:
    results = [
        one(k, column, verdicts=[verdict("length_collapse", "certain" if k in collapsed else "none", 2)])
        for k, column in enumerate(columns)
    ]
    choice = choose(results, RULE.model_copy(update={"bootstrap": 100}), seed=5)
    eligible = {r.number for r in results} - set(choice.ineligible)
    assert set(choice.ineligible) == collapsed & {r.number for r in results}
    assert set(choice.ranking) == eligible
    assert (choice.winner is None) == (not eligible)
    if eligible:
        best = max(r.report.overall for r in results if r.number in eligible)
        assert results[choice.winner].report.overall == pytest.approx(best, abs=1e-6)
        assert math.fsum(choice.best_probability.values()) == pytest.approx(1.0)
        assert results[choice.winner].label in choice.reason
    shuffled = list(results)
    random.shuffle(shuffled)
    assert choose(shuffled, RULE.model_copy(update={"bootstrap": 100}), seed=5) == choice


@settings(max_examples=30, deadline=None)
@given(items, st.integers(1, 40))
def test_better_answers_never_lower_the_probability(column: list[float], gain: int) -> None:
    improved = [value + gain for value in column]
    rival = [50.0] * 6
    rule = RULE.model_copy(update={"bootstrap": 200})
    before, after = (choose([one(1, c), one(2, rival)], rule, 7).best_probability[1] for c in (column, improved))
    assert after >= before - 1e-12


def test_labels_in_the_reason_are_the_swept_parameters() -> None:
    swept = replace(one(1, HIGH), params={"weights": {"instruct": 0.3, "distilled": 0.7}, "rl.kl_coef": 0.05})
    reason = choose([swept, one(2, LOW, telemetry=(StepTelemetry(1, {}),))], RULE, 0).reason
    assert reason.startswith("weights={instruct: 0.3, distilled: 0.7}, rl.kl_coef=0.05 scores")
