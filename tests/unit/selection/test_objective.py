"""What is compared: weights and expressions, through to the intervals."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from bai_sweep.config import SelectionConfig
from bai_sweep.records import TrialResult
from bai_sweep.selection import choose
from tests.synthetic import RULE, score, trial, verdict

RISING = np.linspace(0.0, 100.0, 101)


def _rule(objective: str | dict[str, float]) -> SelectionConfig:
    return RULE.model_copy(update={"objective": objective})


def _pair(**more: Any) -> list[TrialResult]:
    return [
        trial(
            1, scores=[score("mmlu", [60.0] * 4), score("arena", [20.0] * 4)], final_kl=1.0, length_ratio=1.2, **more
        ),
        trial(
            2, scores=[score("mmlu", [50.0] * 4), score("arena", [40.0] * 4)], final_kl=8.0, length_ratio=0.8, **more
        ),
    ]


@pytest.mark.parametrize(
    ("objective", "values"),
    [
        ("mean", {1: 40.0, 2: 45.0}),
        ({"mmlu": 3.0, "arena": 1.0}, {1: 50.0, 2: 47.5}),
        ({"mmlu": 1.0}, {1: 60.0, 2: 50.0}),
        ("overall - final_kl", {1: 39.0, 2: 37.0}),
        ("eval/overall * length_ratio", {1: 48.0, 2: 36.0}),
        ("min(mmlu, 2 * eval/arena)", {1: 40.0, 2: 50.0}),
        ("arena - 10 * stability/length_collapse/severity", {1: 20.0, 2: 40.0}),
    ],
)
def test_values(objective: str | dict[str, float], values: dict[int, float]) -> None:
    choice = choose(_pair(), _rule(objective), 0)
    assert {s.number: s.value for s in choice.standings} == pytest.approx(values)
    assert choice.winner == max(values, key=lambda number: values[number])


def test_severity_counts_the_worst_verdict_of_a_detector() -> None:
    results = _pair(verdicts=[verdict("length_collapse", "suspected")])  # with a severity of 0.5
    choice = choose(results, _rule("mmlu - 10 * stability/length_collapse/severity"), 0)
    assert choice.standings[0].value == pytest.approx(55.0)
    assert choice.objective == "mmlu - 10 * stability/length_collapse/severity"
    assert "by mmlu - 10 * stability/length_collapse/severity" in choice.reason


def test_noise_goes_through_the_expression() -> None:
    """Twice a benchmark has twice its error; the square root of one, by the delta method, half over the root."""
    scores = [score("b", RISING)]
    error = scores[0].stderr
    results = [trial(k, scores=scores) for k in (1, 2)]
    for objective, value, spread in (("b", 50.0, error), ("2 * b", 100.0, 2 * error), ("sqrt(b)", 50**0.5, None)):
        standing = choose(results, _rule(objective).model_copy(update={"bootstrap": 20_000}), 0).standings[0]
        expected = error / (2 * math.sqrt(50.0)) if spread is None else spread
        assert standing.value == pytest.approx(value)
        assert (standing.high - standing.low) / 2 == pytest.approx(1.96 * expected, rel=0.03)


def test_only_what_the_objective_needs_has_to_be_there() -> None:
    whole, lacking = _pair()
    lacking = trial(2, scores=lacking.report.scores[:1], missing={"arena": "no judge"})
    assert choose([whole, lacking], _rule("mean"), 0).ineligible == {2: "no complete score: arena missing"}
    assert not choose([whole, lacking], _rule({"mmlu": 1.0}), 0).ineligible
    assert not choose([whole, lacking], _rule("mmlu - final_kl"), 0).ineligible
    assert choose([whole, lacking], _rule("math"), 0).winner is None


def test_an_objective_without_a_value_may_not_win() -> None:
    results = [*_pair(), trial(3, scores=_pair()[0].report.scores, final_kl=math.nan)]
    choice = choose(results, _rule("mmlu - final_kl"), 0)
    assert choice.ineligible == {3: "the objective (mmlu - final_kl) is not a number"}
