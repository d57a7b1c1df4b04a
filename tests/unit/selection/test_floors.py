"""Benchmarks that may not get worse, by a number, another trial's score, or a point of the same study."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bai_sweep.config import Floor, SelectionConfig
from bai_sweep.records import TrialResult, UserError
from bai_sweep.selection import check_selection, choose
from tests.synthetic import RULE, score, trial, verdict

ITEMS = np.linspace(0.0, 100.0, 40)  # a mean of 50
SPREAD = np.array([30.0, -30.0] * 20)  # differences to `ITEMS` with a mean of 0 and a standard error of 4.8


def _trial(number: int, items: Sequence[float], **params: Any) -> TrialResult:
    return trial(number, params, scores=[score("mmlu", items), score("arena", [50.0 + 10 * number] * 4)])


def _rule(**floors: Floor) -> SelectionConfig:
    return RULE.model_copy(update={"floors": floors})


def test_a_number() -> None:
    results = [_trial(0, ITEMS + 2, alpha=0.1), _trial(1, ITEMS - 2, alpha=0.5)]
    choice = choose(results, _rule(mmlu=Floor(min=50.0)), 0)
    assert (choice.winner, dict(choice.ineligible)) == (0, {1: "mmlu 48.0 is below 50"})
    assert "alpha=0.5, though it scores 54.0 (mmlu 48.0 is below 50)" in choice.reason
    assert choice.standings[1].reason == "ruled out: mmlu 48.0 is below 50"


def test_a_point_of_the_study_paired_over_items() -> None:
    reference = _trial(0, ITEMS, actor="paradigm1", alpha=0.1)
    steady = _trial(1, ITEMS - 3.0, actor="bai", alpha=0.1)  # each item worse by 3: certain, as it is paired
    noisy = _trial(2, ITEMS - 3.0 + SPREAD, actor="bai", alpha=0.5)
    allowed = _trial(3, ITEMS - 0.5, actor="bai", alpha=0.9)
    floor = Floor(reference={"actor": "paradigm1"}, slack=1.0)
    choice = choose([reference, steady, noisy, allowed], _rule(mmlu=floor), 0)
    assert choice.winner == 3
    assert choice.ineligible.keys() == {1, 2}
    assert choice.ineligible[1] == "mmlu 3.0 points (3.0 to 3.0) below actor=paradigm1, more than the 1 allowed"
    assert choice.ineligible[2].startswith("mmlu 3.0 points (-")
    assert choice.ineligible[2].endswith("below actor=paradigm1, more than the 1 allowed, not surely")


def test_a_reference_that_may_not_win_is_still_one() -> None:
    collapsed = replace(_trial(0, ITEMS, actor="paradigm1"))
    collapsed = trial(0, {"actor": "paradigm1"}, scores=collapsed.report.scores, verdicts=[verdict("x", "certain")])
    worse = _trial(1, ITEMS - 5.0, actor="bai")
    choice = choose([collapsed, worse], _rule(mmlu=Floor(reference={"actor": "paradigm1"}, slack=1.0)), 0)
    assert choice.winner is None
    assert "mmlu 5.0 points" in choice.reason


def test_a_point_with_seeds_is_judged_by_their_mean() -> None:
    reference = [replace(_trial(s, ITEMS, actor="p1", seed=s), seed=s) for s in (0, 1)]
    merged = [
        replace(_trial(2 + s, ITEMS + shift, actor="bai", seed=s), seed=s) for s, shift in enumerate((-4.0, 4.0))
    ]
    choice = choose([*reference, *merged], _rule(mmlu=Floor(reference={"actor": "p1"}, slack=1.0)), 0)
    assert not choice.ineligible


@pytest.mark.parametrize(
    ("reference", "complaint"),
    [
        ({"actor": "paradigm3"}, "actor=paradigm3 names one point of the study; it fits no finished trial"),
        ({"actor": "bai"}, "it fits alpha=0.1, actor=bai; alpha=0.5, actor=bai"),
        ("nowhere/at/all", "nowhere/at/all holds no result.json"),
    ],
)
def test_a_reference_that_is_not_there_is_said(reference: str | dict[str, str], complaint: str) -> None:
    results = [_trial(0, ITEMS, alpha=0.1, actor="bai"), _trial(1, ITEMS, alpha=0.5, actor="bai")]
    choice = choose(results, _rule(mmlu=Floor(reference=reference, slack=1.0)), 0)
    assert choice.winner is None
    assert choice.ineligible.keys() == {0, 1}
    assert choice.ineligible[0].startswith("the floor of mmlu cannot be checked: ")
    assert complaint in choice.ineligible[0]


def test_another_trials_folder(tmp_path: Path) -> None:
    _trial(0, ITEMS, actor="paradigm1").save(tmp_path)
    results = [_trial(0, ITEMS - 3, alpha=0.1), _trial(1, ITEMS + 3, alpha=0.5)]
    rule = _rule(mmlu=Floor(reference=str(tmp_path), slack=1.0))
    check_selection(rule)
    choice = choose(results, rule, 0)
    assert choice.winner == 1
    assert choice.ineligible[0].startswith(f"mmlu 3.0 points (3.0 to 3.0) below {tmp_path}")


def test_what_is_not_there_is_an_error_before_the_study(tmp_path: Path) -> None:
    _trial(0, ITEMS, alpha=0.1).save(tmp_path)
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "result.json").write_text("{}")
    floors = {
        "mmlu": Floor(reference=str(tmp_path / "gone"), slack=1.0),
        "math": Floor(reference=str(tmp_path), slack=1.0),
        "arena": Floor(reference=str(tmp_path / "broken"), slack=1.0),
    }
    rule = RULE.model_copy(update={"floors": floors, "also": (str(tmp_path),)})
    with pytest.raises(UserError) as caught:
        check_selection(rule)
    said = str(caught.value).splitlines()
    assert said[0].startswith(f"selection.floors.mmlu.reference: {tmp_path}/gone holds no result.json; give the f")
    assert said[1] == f"selection.floors.math.reference: {tmp_path} has no math; it has mmlu, arena"
    assert "is not a result of this version" in said[2]
    assert said[3] == f"selection.also: {tmp_path} holds no trials/; give the folder of a study, results/<study>"


def test_trials_of_another_study_count_as_seeds(tmp_path: Path) -> None:
    for number, seed in ((0, 0), (1, 1)):
        folder = tmp_path / "trials" / str(number)
        folder.mkdir(parents=True)
        replace(_trial(number, ITEMS, alpha=0.5, seed=seed), seed=seed).save(folder)
    results = [
        replace(_trial(0, ITEMS, alpha=0.5, seed=2), seed=2),
        replace(_trial(1, ITEMS, alpha=0.1, seed=2), seed=2),
    ]
    choice = choose(results, RULE.model_copy(update={"also": (str(tmp_path),)}), 0)
    seeds = {standing.label: standing.seeds for standing in choice.standings}
    assert seeds == {"alpha=0.5": 3, "alpha=0.1": 1}
    assert choice.best_probability.keys() == {0, 1}
    gone = choose(results, RULE.model_copy(update={"also": (str(tmp_path / "gone"),)}), 0)
    assert "selection.also was left out" in gone.reason
