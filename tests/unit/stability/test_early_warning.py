"""Early warnings on runs whose fate is decided by what their first steps show, or by nothing that they show."""

from __future__ import annotations

import math

import numpy as np
import pytest

from bai_sweep.records import StepTelemetry
from bai_sweep.stability import EarlyWarning, learn
from bai_sweep.stability._warning import early_figures

Run = tuple[StepTelemetry, ...]


def run(rng: np.random.Generator, *, slope: float = 0.0, start: float = 60.0, entropy: float = 0.15) -> Run:
    """Ten steps whose length changes by a share of its start each step."""
    return tuple(
        StepTelemetry(
            step + 1,
            {
                "completions/mean_length": start * (1.0 + slope * step + rng.normal(0.0, 0.05)),
                "completions/clipped_ratio": 0.0,
                "completions/repetition_ratio": 0.05,
                "policy/entropy_avg": entropy * (1.0 + rng.normal(0.0, 0.05)),
                "objective/scores": 0.02 * step + rng.normal(0.0, 0.1),
                "objective/kl": 0.1 * step,
            },
        )
        for step in range(10)
    )


def runs(count: int, seed: int, *, told: bool = True) -> tuple[list[Run], list[bool]]:
    """Every second run will collapse, and writes shorter from the start if its fate is `told`."""
    rng = np.random.default_rng(seed)
    fates = [n % 2 == 0 for n in range(count)]
    return [run(rng, slope=-0.05 if fate and told else 0.0) for fate in fates], fates


def learned(count: int = 20, *, told: bool = True, after: int = 5, seed: int = 0) -> EarlyWarning:
    telemetry, fates = runs(count, seed, told=told)
    warning = learn(telemetry, fates, list(range(count)), after=after)
    assert warning is not None
    return warning


def test_it_tells_new_runs_apart_with_the_skill_that_it_claims() -> None:
    warning = learned()
    telemetry, fates = runs(200, seed=1)

    told = np.array([warning.probability(one) for one in telemetry])
    brier = np.mean((told - np.array(fates)) ** 2)

    assert warning.skill.score > 0.5
    assert 1.0 - brier / 0.25 == pytest.approx(warning.skill.score, abs=0.2)
    assert np.mean((told > 0.5) == np.array(fates)) > 0.9


def test_where_nothing_tells_it_claims_no_skill() -> None:
    skills = [learned(told=False, seed=seed).skill for seed in range(8)]

    assert np.median([skill.score for skill in skills]) < 0.05
    assert max(skill.score for skill in skills) < 0.5


def test_it_learns_from_the_merge_alone() -> None:
    """After one step nothing was learned from any: what tells is how surely the merge writes."""
    rng = np.random.default_rng(0)
    fates = [n % 2 == 0 for n in range(20)]
    telemetry = [run(rng, entropy=0.08 if fate else 0.2) for fate in fates]

    warning = learn(telemetry, fates, list(range(20)), after=1)

    assert warning is not None
    assert warning.skill.score > 0.6
    assert set(early_figures(telemetry[0], 1)) == {"log length", "log entropy", "truncated", "repetition"}
    assert warning.probability(run(rng, entropy=0.08)) > 0.8
    assert warning.probability(run(rng, entropy=0.2)) < 0.2


def test_seeds_of_a_point_are_left_out_together() -> None:
    """Starts that differ by point and tell nothing: with a seed of the same point left in they would seem to."""
    rng = np.random.default_rng(3)
    points = [n // 3 for n in range(24)]
    fates = [bool(rng.integers(2)) for _ in range(8)]
    fates[:4] = [True, True, False, False]
    starts = rng.uniform(30.0, 300.0, 8)
    telemetry = [run(rng, start=float(starts[point])) for point in points]
    by_point = [fates[point] for point in points]

    together = learn(telemetry, by_point, points, after=1)
    alone = learn(telemetry, by_point, list(range(24)), after=1)

    assert together is not None
    assert alone is not None
    assert together.skill.score < alone.skill.score


@pytest.mark.parametrize(
    ("count", "fates", "after"),
    [(4, [True, False] * 2, 5), (12, [True] * 2 + [False] * 10, 5), (12, [True] * 12, 5), (12, [True, False] * 6, 11)],
    ids=["few", "few collapsed", "none that did not", "too short"],
)
def test_without_enough_to_learn_from_there_is_none(count: int, fates: list[bool], after: int) -> None:
    telemetry, _ = runs(count, seed=0)

    assert learn(telemetry, fates, list(range(count)), after=after) is None


def test_a_run_without_a_figure_gets_no_probability() -> None:
    warning = learned()
    lacking = tuple(
        StepTelemetry(t.step, {k: v for k, v in t.metrics.items() if k != "policy/entropy_avg"})
        for t in runs(1, seed=5)[0][0]
    )

    assert math.isnan(warning.probability(lacking))


def test_a_figure_that_one_run_lacks_is_not_learned_from() -> None:
    telemetry, fates = runs(20, seed=0)
    telemetry[0] = tuple(
        StepTelemetry(t.step, {k: v for k, v in t.metrics.items() if k != "policy/entropy_avg"}) for t in telemetry[0]
    )
    warning = learn(telemetry, fates, list(range(20)), after=5)

    assert warning is not None
    assert warning.probability(telemetry[0]) > 0.5


def test_equal_runs_give_equal_warnings() -> None:
    telemetry, _ = runs(1, seed=9)

    assert learned().probability(telemetry[0]) == learned().probability(telemetry[0])
    assert learned().skill == learned().skill
