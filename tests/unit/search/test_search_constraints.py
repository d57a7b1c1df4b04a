"""Bounds on metrics, and the settings they stand in."""

from __future__ import annotations

import math
from typing import Any

import pytest

from bai_sweep.records import UserError
from bai_sweep.search._constraints import parse_constraint
from tests.search_settings import search_settings

BOTH = {"objective": ["eval/overall", "objective/final_kl"], "direction": ["maximize", "minimize"]}


@pytest.mark.parametrize(
    ("text", "value", "violation"),
    [
        ("<= 10", 12.0, 2.0),
        ("<= 10", 10.0, 0.0),
        ("<=10", 7.5, -2.5),
        (" >=  0.5 ", 0.25, 0.25),
        (">= 0.5", 0.5, 0.0),
        (">= -1e-1", 1.0, -1.1),
        ("<= 1", math.inf, math.inf),
        ("<= 1", math.nan, math.inf),
        (">= 1", math.nan, math.inf),
    ],
)
def test_violation_is_how_far_outside(text: str, value: float, violation: float) -> None:
    constraint = parse_constraint("m", text)
    assert constraint.violation({"m": value, "other": 99.0}) == pytest.approx(violation)


@pytest.mark.parametrize("text", ["<= 10", ">= 10"])
def test_a_metric_that_is_not_there_is_a_violation_without_end(text: str) -> None:
    assert parse_constraint("m", text).violation({}) == math.inf


@pytest.mark.parametrize("text", ["< 10", "10", "=> 1", "<= x", "<= 1e", "<= 1e999", "<= nan", "<=", "<= 1 2", ""])
def test_what_is_no_bound_is_refused(text: str) -> None:
    with pytest.raises(UserError, match=r"hydra\.sweeper\.constraints\.m is a bound such as '<= 10' or '>= 0.5'; got"):
        search_settings(constraints={"m": text})


def test_directions_belong_to_objectives() -> None:
    assert search_settings(**BOTH).direction == ("maximize", "minimize")
    assert search_settings().objective == ("eval/overall",)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {**BOTH, "direction": "maximize"},
            r"each objective has a direction; got 2 \(eval/overall, .*\) and 1 of",
        ),
        ({"direction": ["maximize", "minimize"]}, r"got 1 \(eval/overall\) and 2 of direction \(maximize, minimize\)"),
        ({**BOTH, "objective": ["a", "a"]}, "objectives differ; got a, a"),
        ({"objective": [], "direction": []}, "objective: "),
        ({**BOTH, "pruner": {"_target_": "optuna.pruners.MedianPruner"}}, "pruners compare trials by one objective"),
        (
            {
                "pruner": {"_target_": "optuna.pruners.MedianPruner"},
                "report": {"metric": "eval/overall", "direction": "maximize", "window": 1},
            },
            "report.metric=eval/overall is of the cheap evaluation; give it a size",
        ),
        ({"collapse": {"detectors": [], "patience": 0}}, "collapse.patience"),
        ({"report": {"metric": "x", "direction": "up", "window": 1}}, "report.direction"),
    ],
)
def test_settings_that_do_not_fit_together_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=rf"(?s)bad sweeper settings:.*{message}"):
        search_settings(**changes)
