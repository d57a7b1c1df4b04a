"""Ties to the more stable point, losers' reasons, and what to run next."""

from __future__ import annotations

import math
import shlex
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy import stats

from bai_sweep.records import TrialResult
from bai_sweep.selection import choose, with_commands
from bai_sweep.selection._next import written
from bai_sweep.selection._power import Pair, items_needed, predictive_power, seeds_needed
from tests.synthetic import RULE, score, trial, verdict

TIES = RULE.model_copy(update={"tie_points": 1.0})


def _noisy(number: int, mean: float, *, seed: int = 0, spread: float = 20.0, **more: Any) -> TrialResult:
    """200 items of this mean exactly, with noise that no other trial shares."""
    rng = np.random.default_rng([number, seed])
    noise = rng.normal(0, spread, 200)
    return trial(number, scores=[score("b", mean + noise - noise.mean())], **more)


def _points(values: Sequence[Sequence[float]], **more: Any) -> list[TrialResult]:
    """A row is a point, a value a seed, in which all items are alike."""
    placed = [(point, seed, value) for point, row in enumerate(values) for seed, value in enumerate(row)]
    return [
        replace(trial(k, {"alpha": (point + 1) / 10, "seed": s}, scores=[score("b", [v, v])], **more), seed=s)
        for k, (point, s, v) in enumerate(placed)
    ]


def test_as_good_within_noise_goes_to_the_more_stable() -> None:
    results = [_noisy(1, 60.5, final_kl=9.0), _noisy(2, 60.0, final_kl=2.0), _noisy(3, 50.0, final_kl=0.1)]
    assert choose(results, RULE, 0).winner == 1
    choice = choose(results, TIES, 0)
    assert choice.ranking == (2, 1, 3)
    assert not choice.clear
    assert "alpha=0.2 (60.0 points overall" in choice.reason
    assert "is taken for its stability: alpha=0.1 scores 0.5 more, which is within noise" in choice.reason
    winner, close, far = choice.standings
    assert winner.reason == ""
    assert close.reason == "as good within noise, but less stable: final KL 9 nats against 2"
    assert far.reason.startswith("behind by 10.5 points (")
    assert (winner.behind, close.behind) == (pytest.approx(0.5), 0.0)


@pytest.mark.parametrize(
    "rival",
    [
        {"final_kl": 1.0, "mean": 58.9},  # more than tie_points behind
        {"final_kl": 1.0, "mean": 59.5, "spread": 0.5},  # surely behind
        {"final_kl": 2.2, "mean": 59.9},  # as good, but hardly more stable
    ],
)
def test_no_tie(rival: dict[str, float]) -> None:
    spread = rival.get("spread", 20.0)
    results = [
        _noisy(1, 60.0, final_kl=2.1, spread=spread),
        _noisy(2, rival["mean"], final_kl=rival["final_kl"], spread=spread),
    ]
    assert choose(results, TIES, 0).winner == 1


def test_a_suspected_fault_counts_more_than_kl() -> None:
    shaky = _noisy(1, 60.5, final_kl=0.5, verdicts=[verdict("length_collapse", "suspected", 3)])
    choice = choose([shaky, _noisy(2, 60.0, final_kl=5.0)], TIES, 0)
    assert choice.winner == 2
    assert choice.standings[1].reason == "as good within noise, but less stable: length collapse (suspected)"


def test_too_few_seeds_are_not_clear_and_asked_for() -> None:
    rows = [[50.0, 51.0], [70.0, 71.0], [40.0, 41.0, 42.0]]
    assert choose(_points(rows), RULE, 0).clear
    choice = choose(_points(rows), RULE.model_copy(update={"min_seeds": 3}), 0)
    assert (choice.winner, choice.clear) == (2, False)
    assert "it has 2 of the 3 seeds that selection.min_seeds asks for, 1 missing" in choice.reason
    assert [t.overrides for t in choice.next_trials] == [("alpha=0.2,0.1", "seed=choice(2)")]
    untrained = _points(rows, telemetry=())
    assert choose(untrained, RULE.model_copy(update={"min_seeds": 3}), 0).clear


def test_one_seed_everywhere_asks_for_replicates_of_the_contenders() -> None:
    results = [_noisy(1, 60.0), _noisy(2, 61.0), _noisy(3, 20.0)]
    choice = choose(results, RULE.model_copy(update={"min_seeds": 2}), 0)
    assert "No point was run with a second seed" in choice.evidence
    assert [(t.overrides, t.trials) for t in choice.next_trials] == [(("alpha=0.2,0.1", "seed=1,2"), 4)]


def test_seeds_that_would_tell_contenders_apart() -> None:
    rows = [[50.0, 53.0, 56.0], [54.5, 57.5, 60.5], [10.0, 13.0, 16.0]]  # a seed's deviation is 3 in each
    choice = choose(_points(rows), RULE, 0)
    assert (choice.winner, choice.clear) == (3, False)
    goal = 1 + int(choice.next_trials[0].overrides[1].split(",")[-1])
    assert f"takes about {goal} seeds a point" in choice.evidence
    assert choice.next_trials[0].overrides[0] == "alpha=0.2,0.1"
    assert choice.next_trials[0].overrides[1].startswith("seed=3,4")
    # by hand: 4.5 points apart, each point's mean has variance 9 / seeds; 2 of 6 degrees of freedom are the third's
    now = 2 * 9 / 3

    def told(seeds: int) -> bool:
        after = 2 * 9 / seeds
        reach = stats.t(2 + 2 * (seeds - 1)).ppf(0.95) * math.sqrt(after)
        later = stats.norm(4.5, math.sqrt(now - after))
        return bool(later.sf(reach) + later.cdf(-reach) >= 0.8)

    assert goal == next(seeds for seeds in range(4, 100) if told(seeds))


def test_nothing_affordable_is_said() -> None:
    rows = [[50.0, 60.0, 70.0], [50.1, 60.1, 70.1]]
    choice = choose(_points(rows), RULE, 0)
    assert choice.next_trials == ()
    assert (
        "no affordable number of trials would do (at most 10 seeds a point, 20 times the items; 10 " in choice.evidence
    )
    assert "the true difference may be nil" in choice.evidence
    assert choice.evidence.endswith("points: if that does not matter, either is fine.")


def test_surely_equal_is_said() -> None:
    rows = [[50.0, 50.1, 50.2], [50.1, 50.2, 50.3]]
    choice = choose(_points(rows), TIES, 0)
    assert choice.equal == tuple(n for n in (0, 3) if n != choice.winner)
    assert choice.evidence.endswith("are equal within 1 points: either is fine.")
    assert choice.next_trials == ()


def test_power_by_items_alone() -> None:
    """No training: items are the only noise, W = V / k; against draws of the later estimate."""
    pair = Pair(gap=2.0, close=1.0, items=4.0, shared=4.0, per_seed=0.0, seeds=0.0, replicates=(), dof=0)
    assert seeds_needed(pair, 0.95, 0.8, 50) is None
    draws = np.random.default_rng(0).normal(2.0, np.sqrt(4.0 - 4.0 / 12), 400_000)
    reach = stats.norm.ppf(0.95) * math.sqrt(4.0 / 12)
    decided = (np.abs(draws) > reach) | (np.abs(draws) + reach <= 1.0)
    assert predictive_power(pair, 4.0 / 12, 0, 0.95) == pytest.approx(decided.mean(), abs=0.003)
    factor = items_needed(pair, 0.95, 0.8)
    assert predictive_power(pair, 4.0 / factor, 0, 0.95) >= 0.8 > predictive_power(pair, 4.0 * 1.09 / factor, 0, 0.95)
    assert items_needed(replace(pair, gap=0.5, close=0.0), 0.95, 0.95) == math.inf


def test_points_that_are_no_grid_are_asked_for_one_by_one() -> None:
    values = {(0.1, "ppo"): [50.0, 53.0, 56.0], (0.5, "vc_ppo"): [55.0, 58.0, 61.0]}
    results = [
        replace(trial(k, {"alpha": a, "rl": rl, "seed": s}, scores=[score("b", [v, v])]), seed=s)
        for k, ((a, rl), s, v) in enumerate(
            (point, s, v) for point, listed in values.items() for s, v in enumerate(listed)
        )
    ]
    asked = [t.overrides[:2] for t in choose(results, RULE, 0).next_trials]
    assert asked == [("alpha=choice(0.5)", "rl=choice(vc_ppo)"), ("alpha=choice(0.1)", "rl=choice(ppo)")]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.1, "0.1"),
        ("vc_ppo", "vc_ppo"),
        (True, "true"),
        (None, "null"),
        ({"instruct": 0.3, "distilled": 0.7}, "{instruct:0.3,distilled:0.7}"),
        ([1, "a b"], "[1,'a b']"),
        ("it's", r"'it\'s'"),
    ],
)
def test_values_as_the_command_line_takes_them(value: object, text: str) -> None:
    from hydra.core.override_parser.overrides_parser import OverridesParser

    assert written(value) == text
    parsed = OverridesParser.create().parse_override(f"key={text}").value()
    assert str(parsed) == str(value)


def test_commands_keep_the_studys_settings_and_count_both_studies() -> None:
    choice = choose([_noisy(1, 60.0), _noisy(2, 61.0)], RULE.model_copy(update={"min_seeds": 2}), 0)
    begun = (
        "python -m bai_sweep -m alpha=0.1,0.2 rl.steps=40 'weights={instruct: 0.3, distilled: 0.7}' study=mine seeds=1"
    )
    whole = with_commands(choice, begun, "mine", ["results/other", "results/mine"])
    run, decide = whole.next_trials[0].command.splitlines()
    assert decide == "python -m bai_sweep.report results/mine 'selection.also=[results/other,results/mine-next]'"
    assert shlex.split(run) == [
        *("python", "-m", "bai_sweep", "-m", "rl.steps=40", "weights={instruct: 0.3, distilled: 0.7}"),
        *("alpha=0.2,0.1", "seed=1,2", "study=mine-next", "selection.also=[results/other,results/mine]"),
    ]
    again = with_commands(choice, "python -m bai_sweep -m +sweep=alpha_tpe resume=true", "mine-next-2", ["r"])
    command = shlex.split(again.next_trials[0].command)
    assert command[4] == "+sweep=alpha_tpe"
    assert {"hydra.sweeper.n_trials=null", "hydra.sweeper.params=null", "seeds=1", "study=mine-next"} <= set(command)
    assert "resume=true" not in command
