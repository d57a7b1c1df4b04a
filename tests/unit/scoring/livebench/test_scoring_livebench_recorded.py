"""Our scores against those that LiveBench's scorer recorded, on every stored question with a stored answer."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from bai_sweep.scoring.livebench import score, select

FAST = ("gcd", "determinant", "variance", "std")  # of AMPS_Hard: numbers, which take a tenth of a second each


def _rows(path: Path) -> Iterator[dict[str, Any]]:
    with path.open(encoding="utf-8") as file:
        yield from map(json.loads, file)


def _items(folder: Path) -> dict[str, tuple[dict[str, Any], str, float]]:
    """Question, answer and recorded score by question id."""
    questions = {row["question_id"]: row for row in _rows(folder / "question.jsonl")}
    answers = {
        row["question_id"]: row["choices"][0]["turns"][-1]
        for path in (folder / "model_answer").glob("*.jsonl")
        for row in _rows(path)
    }
    recorded = {
        row["question_id"]: row["score"] for row in _rows(folder / "model_judgment/ground_truth_judgment.jsonl")
    }
    return {name: (questions[name], answers[name], points) for name, points in recorded.items()}


def _check(category: str, task: str, items: dict[str, tuple[dict[str, Any], str, float]]) -> None:
    ours = {name: score(category, task, question, answer) for name, (question, answer, _) in items.items()}
    assert ours == pytest.approx({name: points for name, (_, _, points) in items.items()}, abs=1e-12)


@pytest.mark.parametrize(
    ("category", "task", "count"),
    [
        ("data_analysis", "tablejoin", 50),
        ("data_analysis", "tablereformat", 50),
        ("math", "math_comp", 46),
        ("reasoning", "spatial", 50),
        ("reasoning", "zebra_puzzle", 100),  # 50 of them of the old form
    ],
)
def test_every_recorded_score_is_ours(
    category: str, task: str, count: int, shared_data: Callable[[str], Path]
) -> None:
    items = _items(shared_data(f"livebench/{category}/{task}"))
    assert len(items) == count
    _check(category, task, items)


def test_recorded_scores_of_numbers_in_amps_hard_are_ours(shared_data: Callable[[str], Path]) -> None:
    items = _items(shared_data("livebench/math/AMPS_Hard"))
    numbers = {name: item for name, item in items.items() if item[0]["subtask"].removeprefix("amps_hard_") in FAST}
    assert len(numbers) == 40
    _check("math", "AMPS_Hard", numbers)


@pytest.mark.slow
def test_every_recorded_score_of_amps_hard_is_ours(shared_data: Callable[[str], Path]) -> None:
    items = _items(shared_data("livebench/math/AMPS_Hard"))
    assert len(items) == 100
    _check("math", "AMPS_Hard", items)


@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("data_analysis/tablejoin", 50),
        ("data_analysis/tablereformat", 50),
        ("math/AMPS_Hard", 100),
        ("math/math_comp", 96),
        ("reasoning/spatial", 50),
        ("reasoning/zebra_puzzle", 50),
    ],
)
def test_the_release_has_as_many_questions(name: str, count: int, shared_data: Callable[[str], Path]) -> None:
    questions = list(_rows(shared_data(f"livebench/{name}") / "question.jsonl"))
    assert len(select(questions, "2024-11-25")) == count


@pytest.mark.parametrize(
    ("category", "task"),
    [("data_analysis", "tablejoin"), ("data_analysis", "tablereformat"), ("reasoning", "spatial")],
)
def test_the_reference_itself_scores_all_points(category: str, task: str, shared_data: Callable[[str], Path]) -> None:
    for question in _rows(shared_data(f"livebench/{category}/{task}") / "question.jsonl"):
        truth = question["ground_truth"]
        assert score(category, task, question, truth if isinstance(truth, str) else repr(truth)) == 1.0
