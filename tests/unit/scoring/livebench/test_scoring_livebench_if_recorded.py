"""LiveBench's instruction following against what its authors' scorer recorded for the published answers."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from bai_sweep.scoring.livebench.instruction_following import followed, score

TASKS = ("paraphrase", "simplify", "story_generation")


def _rows(path: Path) -> Iterator[dict[str, Any]]:
    with path.open(encoding="utf-8") as file:
        yield from map(json.loads, file)


@pytest.fixture(params=TASKS)
def folder(request: pytest.FixtureRequest, shared_data: Callable[[str], Path]) -> Path:
    return shared_data(f"livebench/instruction_following/{request.param}")


def test_every_recorded_score_is_ours(folder: Path) -> None:
    questions = {q["question_id"]: q for q in _rows(folder / "question.jsonl")}
    answers = {
        row["question_id"]: row["choices"][0]["turns"][0]
        for path in (folder / "model_answer").glob("*.jsonl")
        for row in _rows(path)
    }
    recorded = {r["question_id"]: r["score"] for r in _rows(folder / "model_judgment/ground_truth_judgment.jsonl")}
    ours = {item: score(questions[item], answers[item]) for item in recorded}
    assert len(recorded) == 50
    assert ours == pytest.approx(recorded, abs=1e-12)


def test_every_recorded_verdict_on_an_instruction_is_ours(folder: Path) -> None:
    questions = {q["turns"][0]: q for q in _rows(folder / "question.jsonl")}
    rows = [row for path in (folder / "model_judgment").glob("*_strict.jsonl") for row in _rows(path)]
    assert len(rows) == 100
    for row in rows:
        assert followed(questions[row["prompt"]], row["response"]) == row["follow_instruction_list"], row
