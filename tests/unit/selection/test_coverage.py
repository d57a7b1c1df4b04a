"""Do 95 % intervals hold the truth? Small studies of a known one; benchmarks/selection.py does the same at length."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from bai_sweep.records import TrialResult
from bai_sweep.selection._candidates import candidates
from bai_sweep.selection._measure import measure
from bai_sweep.selection._objective import score_objective
from tests.synthetic import score, trial

STUDIES = 250


def _study(rng: np.random.Generator, points: int, seeds: int, noise: float) -> list[TrialResult]:
    """All points are truly 60; items are shared, seeds differ by `noise` points."""
    shared = rng.normal(0, 25, 60)
    made = []
    for k, (point, seed) in enumerate((p, s) for p in range(points) for s in range(seeds)):
        items = 60 + shared + rng.normal(0, 10, 60) + rng.normal(0, noise)
        one = trial(k, {"actor": f"p{point}", "seed": seed}, scores=[score("b", items)])
        made.append(replace(one, seed=seed))
    return made


@pytest.mark.parametrize(("points", "seeds", "noise"), [(3, 2, 3.0), (5, 3, 1.0), (2, 5, 3.0)])
def test_intervals_hold_the_truth_as_often_as_they_say(points: int, seeds: int, noise: float) -> None:
    rng = np.random.default_rng(points)
    single = pair = joint = 0
    for number in range(STUDIES):
        measured = measure(candidates(_study(rng, points, seeds, noise)), score_objective("b"), 400, number)
        low, high = measured.intervals()[:, 0]
        single += low <= 60.0 <= high
        low, high = measured.difference(0, 1)[1]
        pair += low <= 0.0 <= high
        lows, highs = measured.behind(int(measured.values.argmax()))[1]
        joint += bool(np.all((lows <= 0.0) & (highs >= 0.0)))
    for covered in (single, pair, joint):
        # 95 % less three standard errors of 250 studies, 1.4 each; few seeds may cover a little more
        assert 0.909 <= covered / STUDIES <= 0.995


def test_without_replicates_seeds_are_not_covered_and_that_is_why_it_is_said() -> None:
    rng = np.random.default_rng(0)
    covered = 0
    for number in range(150):
        measured = measure(candidates(_study(rng, 2, 1, 4.0)), score_objective("b"), 400, number)
        low, high = measured.difference(0, 1)[1]
        covered += low <= 0.0 <= high
    assert covered / 150 < 0.7
