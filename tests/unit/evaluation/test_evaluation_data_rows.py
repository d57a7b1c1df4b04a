"""Rows of any known form come out in one schema."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from evaluation_data_cases import arena_questions, livebench, math_as_on_the_hub, write_lines

from bai_sweep.evaluation.data import load
from bai_sweep.evaluation.data.benchmarks import SPECS
from bai_sweep.records import UserError


def test_aime_gets_small_names_and_text(tmp_path: Path) -> None:
    row = {"ID": "2024-II-4", "Problem": "Find it.", "Solution": "So.", "Answer": 33}
    write_lines(tmp_path / "aime_2024/test.jsonl", [row])
    expected = {"id": "2024-II-4", "problem": "Find it.", "solution": "So.", "answer": "33"}
    assert load("aime_2024", tmp_path)["test"] == [expected]


def test_aime_keeps_leading_zeros(tmp_path: Path) -> None:
    write_lines(tmp_path / "aime_2024/test.jsonl", [{"id": 61, "problem": "Find it.", "answer": "025"}])
    assert load("aime_2024", tmp_path)["test"] == [{"id": "61", "problem": "Find it.", "answer": "025"}]


@pytest.mark.parametrize(("level", "number"), [("Level 5", 5), ("Level ?", None), (2, 2)])
def test_math_levels_are_numbers(tmp_path: Path, level: object, number: int | None) -> None:
    row = math_as_on_the_hub("Algebra", 1)[0] | {"level": level}
    write_lines(tmp_path / "math/test.jsonl", [row])
    loaded = load("math", tmp_path)["test"][0]
    assert (loaded["level"], loaded["subject"], "type" in loaded) == (number, "Algebra", False)


def test_livebench_dates_are_text() -> None:
    row: dict[str, Any] = livebench("coding", "LCB_generation", 1)[0] | {
        "livebench_release_date": datetime(2024, 6, 24),
        "livebench_removal_date": None,
        "release_date": datetime(2024, 6, 1),
        "original_json": {"metadata": "{}", "contest_date": datetime(2024, 2, 3, 4, 5, 6)},
    }
    normal = SPECS["livebench"].normalise(row)
    assert normal["livebench_release_date"] == "2024-06-24"
    assert normal["livebench_removal_date"] == ""
    assert normal["release_date"] == "2024-06-01"
    assert normal["original_json"]["contest_date"] == "2024-02-03 04:05:06"
    assert SPECS["livebench"].normalise(normal) == normal


def test_livebench_copies_with_a_time_of_day_count(tmp_path: Path) -> None:
    rows = [row | {"livebench_release_date": "2024-11-25 00:00:00"} for row in livebench("math", "olympiad", 3)]
    write_lines(tmp_path / "livebench/math/olympiad/question.jsonl", rows)
    assert load("livebench", tmp_path)["math/olympiad"][0]["livebench_release_date"] == "2024-11-25"


def test_older_arenahard_files_read_as_the_newer(tmp_path: Path) -> None:
    question = {"question_id": "q0", "category": "arena-hard-v0.1", "cluster": "c0", "turns": [{"content": "Hi"}]}
    turns = [{"content": "Hello", "token_len": 1}]
    answer = {"question_id": "q0", "model_id": "gpt-4-0314", "choices": [{"index": 0, "turns": turns}]}
    write_lines(tmp_path / "arenahard/v0.1/question.jsonl", [question])
    write_lines(tmp_path / "arenahard/v0.1/model_answer/gpt-4-0314.jsonl", [answer])
    loaded = load("arenahard_v0.1", tmp_path)
    assert {name: loaded["question"][0][name] for name in arena_questions(1)[0]} == arena_questions(1)[0]
    first = loaded["baseline/gpt-4-0314"][0]
    assert (first["uid"], first["model"]) == ("q0", "gpt-4-0314")
    assert first["messages"] == [{"role": "assistant", "content": "Hello"}]


def test_a_row_of_no_known_form_is_named(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "arenahard/v0.1/question.jsonl", [{"uid": "q0", "turns": [{"text": "Hi"}]}])
    with pytest.raises(UserError, match=rf"{path}, line 1: the row is in no known form \(KeyError\('content'\)\)"):
        load("arenahard_v0.1", tmp_path)["question"]


@pytest.mark.parametrize("benchmark", SPECS)
def test_normalising_twice_is_normalising_once(benchmark: str) -> None:
    normalise = SPECS[benchmark].normalise
    row = {"ID": 1, "Answer": 2, "level": "Level 1", "type": "x", "livebench_removal_date": None, "question_id": "q"}
    once = normalise(json.loads(json.dumps(row)))
    assert normalise(once) == once


def test_a_file_is_read_when_its_rows_are_asked_for(tmp_path: Path) -> None:
    """Each of LiveBench's tasks needs one file: another that is broken does not stop it."""
    write_lines(tmp_path / "livebench/math/olympiad/question.jsonl", livebench("math", "olympiad", 3))
    broken = tmp_path / "livebench/math/math_comp/question.jsonl"
    broken.parent.mkdir(parents=True)
    broken.write_text('{"cut')
    tables = load("livebench", tmp_path)
    assert set(tables) == {"math/math_comp", "math/olympiad"}
    assert "math/math_comp" in tables
    assert "math/AMPS_Hard" not in tables
    assert len(tables["math/olympiad"]) == 3
    with pytest.raises(UserError, match=r"math_comp/question\.jsonl"):
        tables["math/math_comp"]
