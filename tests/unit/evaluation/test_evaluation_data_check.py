"""What is wrong with a benchmark's folder is said with its place and the way out, before anything expensive."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import evaluation_data_cases as cases
import pytest
from evaluation_data_cases import write_lines

from bai_sweep.evaluation.data import BENCHMARKS, check, describe
from bai_sweep.evaluation.data._files import git_blob, sha256
from bai_sweep.evaluation.data.benchmarks import MMLU_SUBJECTS, SPECS
from bai_sweep.evaluation.data.benchmarks._livebench import TASKS
from bai_sweep.records import UserError


def lay_mixeval(root: Path, version: str = "2024-08-11") -> None:
    for half in ("free-form", "multiple-choice"):
        path = root / f"mixeval_hard/{version}/{half}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(cases.mixeval(half)))


def lay_arena(root: Path) -> None:
    write_lines(root / "arenahard/v0.1/question.jsonl", cases.arena_questions())
    write_lines(root / "arenahard/v0.1/model_answer/gpt-4-0314.jsonl", cases.arena_answers("gpt-4-0314"))


def lay_arena_2(root: Path) -> None:
    questions = [
        {
            "uid": f"q{n}",
            "category": "hard_prompt" if n < 500 else "creative_writing",
            "subcategory": "",
            "prompt": "Hi",
        }
        for n in range(750)
    ]
    write_lines(root / "arenahard/v2.0/question.jsonl", questions)
    for model in ("o3-mini-2025-01-31", "gemini-2.0-flash-001"):
        write_lines(root / f"arenahard/v2.0/model_answer/{model}.jsonl", cases.arena_answers(model, 750))


def lay_mmlu_pro(root: Path) -> None:
    write_lines(root / "mmlu_pro/test.jsonl", cases.mmlu_pro(12032))
    write_lines(root / "mmlu_pro/validation.jsonl", cases.mmlu_pro(70))


def lay_livebench(root: Path) -> None:
    for category, tasks in TASKS.items():
        for task, count in tasks.items():
            rows = cases.livebench(category, task, count)
            gone = [
                {**row, "question_id": f"gone-{n}", "livebench_release_date": "2024-06-24"}
                | {"livebench_removal_date": "2024-11-25"}
                for n, row in enumerate(rows[:7])
            ]
            write_lines(root / f"livebench/{category}/{task}/question.jsonl", gone + rows)


def lay_math500(root: Path) -> None:
    rows = [
        row | {"answer": "1", "unique_id": f"{n}"} for n, row in enumerate(cases.math_as_on_the_hub("Algebra", 500))
    ]
    write_lines(root / "math500/test.jsonl", rows)


WHOLE: dict[str, Callable[[Path], Any]] = {
    "mmlu_pro": lay_mmlu_pro,
    "mmlu": cases.lay_mmlu,
    "supergpqa": lambda root: write_lines(root / "supergpqa/test.jsonl.gz", cases.supergpqa(26529)),
    "livebench": lay_livebench,
    "mixeval_hard_2024-06-01": lambda root: lay_mixeval(root, "2024-06-01"),
    "mixeval_hard_2024-08-11": lay_mixeval,
    "arenahard_v0.1": lay_arena,
    "arenahard_v2.0": lay_arena_2,
    "aime_2024": lambda root: write_lines(root / "aime_2024/test.jsonl", cases.aime_as_on_the_hub()),
    "math": lambda root: write_lines(root / "math/test.jsonl", cases.math_as_on_the_hub("Algebra", 5000)),
    "math500": lay_math500,
    "mbpp_plus": lambda root: write_lines(root / "mbpp_plus/MbppPlus.jsonl", cases.mbpp_plus()),
}


def test_official_counts() -> None:
    """The figures of the dataset cards and of the official repositories, which the tables must add up to."""
    counts = {name: sum(file.rows for file in spec.files) for name, spec in SPECS.items()}
    assert counts == {
        "mmlu_pro": 12032 + 70,
        "mmlu": 14042 + 285,
        "supergpqa": 26529,
        "livebench": 1000,
        "mixeval_hard_2024-06-01": 1000,
        "mixeval_hard_2024-08-11": 1000,
        "arenahard_v0.1": 500 + 500,
        "arenahard_v2.0": 750 + 2 * 750,
        "aime_2024": 30,
        "math": 5000,
        "math500": 500,
        "mbpp_plus": 378,
    }
    assert len(MMLU_SUBJECTS) == 57
    assert set(WHOLE) == set(BENCHMARKS)


@pytest.mark.parametrize("benchmark", BENCHMARKS)
def test_whole_data_has_no_fault(tmp_path: Path, benchmark: str) -> None:
    WHOLE[benchmark](tmp_path)
    assert check(benchmark, tmp_path, partial=False) is None
    version = describe(benchmark, tmp_path)
    assert (version.benchmark, version.partial, version.source) == (benchmark, False, "local files")
    assert version.rows == {file.key: file.rows for file in SPECS[benchmark].files}


@pytest.mark.parametrize("benchmark", BENCHMARKS)
@pytest.mark.parametrize("partial", [False, True])
def test_absent_data_is_said_with_the_command(tmp_path: Path, benchmark: str, partial: bool) -> None:
    fault = check(benchmark, tmp_path, partial=partial)
    assert fault is not None
    assert f"{SPECS[benchmark].title} lies in {tmp_path / SPECS[benchmark].folder}, which has none" in fault
    assert f"python -m bai_sweep.evaluation fetch benchmarks={benchmark} data_dir={tmp_path}" in fault
    with pytest.raises(UserError, match="has none of its files"):
        describe(benchmark, tmp_path)


def _supergpqa_with(root: Path, change: dict[str, Any]) -> str | None:
    rows = cases.supergpqa(20)
    rows[6] = {name: value for name, value in {**rows[6], **change}.items() if value is not ...}
    write_lines(root / "supergpqa/test.jsonl", rows)
    return check("supergpqa", root, partial=True)


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        ({"options": ...}, "column options is missing"),
        ({"options": "A) 1"}, "column options is a list of 2 to 10 texts; got 'A) 1' (str)"),
        ({"options": ["1", 2]}, "column options is a list of 2 to 10 texts; got ['1', 2] (list)"),
        ({"options": ["1"]}, "column options is a list of 2 to 10 texts; got ['1'] (list)"),
        ({"options": ["1"] * 11}, "column options is a list of 2 to 10 texts; got ['1', '1', "),
        ({"question": " "}, "column question is text that is not empty; got ' ' (str)"),
        ({"answer_letter": "E"}, "column answer_letter is one of the 4 options, A to D; got 'E'"),
        ({"answer_letter": "AB"}, "column answer_letter is one of the 4 options, A to D; got 'AB'"),
        ({"answer_letter": "a"}, "column answer_letter is one of the 4 options, A to D; got 'a'"),
        ({"is_calculation": 0}, "column is_calculation is true or false; got 0 (int)"),
        ({"uuid": "u2"}, "column uuid is unique; 'u2' is also in line 3"),
    ],
)
def test_a_wrong_row_is_named_by_line_and_column(tmp_path: Path, change: dict[str, Any], rule: str) -> None:
    fault = _supergpqa_with(tmp_path, change)
    assert fault is not None
    assert f"{tmp_path}/supergpqa/test.jsonl, line 7: {rule}" in fault
    assert "get it with `python -m" in fault
    assert "partial_data" not in fault  # that would not help


def test_many_wrong_rows_are_counted(tmp_path: Path) -> None:
    write_lines(tmp_path / "supergpqa/test.jsonl", [row | {"options": None} for row in cases.supergpqa(600)])
    fault = check("supergpqa", tmp_path, partial=False)
    assert fault is not None
    assert "line 1: column options" in fault
    assert "line 3: column options" in fault
    assert "line 4:" not in fault
    assert f"and 597 more rows of {tmp_path}/supergpqa/test.jsonl" in fault


@pytest.mark.parametrize(
    ("benchmark", "name", "rows", "rule"),
    [
        ("mmlu_pro", "mmlu_pro/test", [{**cases.mmlu_pro(1)[0], "answer_index": 3}], "one of the 3 options"),
        (
            "mmlu_pro",
            "mmlu_pro/test",
            [{**cases.mmlu_pro(1)[0], "answer": "C"}],
            "letter of answer_index 1, B; got 'C'",
        ),
        ("mmlu_pro", "mmlu_pro/test", [{**cases.mmlu_pro(1)[0], "category": "art"}], "one of the 14 of MMLU-Pro"),
        ("mmlu", "mmlu/anatomy_test", [{**cases.mmlu("anatomy", 1)[0], "answer": 4}], "0 to 3; got 4"),
        (
            "mmlu",
            "mmlu/anatomy_test",
            [{**cases.mmlu("anatomy", 1)[0], "answer": "B"}],
            "a whole number; got 'B' (str)",
        ),
        ("mmlu", "mmlu/anatomy_test", cases.mmlu("virology", 1), "column subject is anatomy, as the file's name"),
        (
            "mmlu",
            "mmlu/anatomy_test",
            [{**cases.mmlu("anatomy", 1)[0], "answer": True}],
            "whole number; got True (bool)",
        ),
        ("aime_2024", "aime_2024/test", [{"id": "1", "problem": "p", "answer": "x"}], "from 0 to 999; got 'x'"),
        ("aime_2024", "aime_2024/test", [{"id": "1", "problem": "p", "answer": 1000}], "from 0 to 999; got '1000'"),
        ("math500", "math500/test", cases.math_as_on_the_hub("Algebra", 1), "column answer is missing"),
        ("math", "math/test", [{"problem": "p", "type": "Algebra", "level": 1}], "column solution is missing"),
        (
            "mbpp_plus",
            "mbpp_plus/MbppPlus",
            [{**cases.mbpp_plus(1)[0], "base_input": []}],
            "base_input is a list that",
        ),
        ("mbpp_plus", "mbpp_plus/MbppPlus", [{"task_id": 2, "test_list": [], "test": "..."}], "evalplus/mbppplus"),
        (
            "arenahard_v0.1",
            "arenahard/v0.1/question",
            [{**cases.arena_questions(1)[0], "category": "x"}],
            "in v0.1; got",
        ),
        (
            "arenahard_v0.1",
            "arenahard/v0.1/model_answer/gpt-4-0314",
            [{"uid": "q0", "model": "m", "messages": [{"role": "user", "content": "Hi"}]}],
            "column messages ends with",
        ),
        (
            "livebench",
            "livebench/math/olympiad/question",
            cases.livebench("math", "math_comp", 1),
            "columns category and task are math and olympiad, as the folders; got math and math_comp",
        ),
        (
            "livebench",
            "livebench/math/olympiad/question",
            [{**cases.livebench("math", "olympiad", 1)[0], "livebench_removal_date": "2024-06-24"}],
            "is not before the release 2024-11-25; got 2024-06-24",
        ),
        (
            "livebench",
            "livebench/math/olympiad/question",
            [{**cases.livebench("math", "olympiad", 1)[0], "livebench_release_date": "soon"}],
            "column livebench_release_date is a date YYYY-MM-DD; got 'soon' (str)",
        ),
        (
            "livebench",
            "livebench/coding/LCB_generation/question",
            [{**cases.livebench("coding", "LCB_generation", 1)[0], "original_json": {}}],
            "column original_json is an object with `metadata`",
        ),
        (
            "livebench",
            "livebench/instruction_following/simplify/question",
            [{**cases.livebench("instruction_following", "simplify", 1)[0], "kwargs": []}],
            "column kwargs has one entry for each of instruction_id_list",
        ),
    ],
)
def test_each_benchmark_has_its_rules(tmp_path: Path, benchmark: str, name: str, rows: list[Any], rule: str) -> None:
    write_lines(tmp_path / f"{name}.jsonl", rows)
    fault = check(benchmark, tmp_path, partial=True)
    assert fault is not None
    assert rule in fault
    assert f"{name}.jsonl" in fault


@pytest.mark.parametrize(
    ("half", "change", "rule"),
    [
        ("multiple-choice", {"target": [2]}, "indices of the 2 options, counted from 0; got [2]"),
        ("multiple-choice", {"target": ["B"]}, "indices of the 2 options"),
        ("free-form", {"target": [" "]}, "column target is a list of texts that are not empty"),
        ("free-form", {"problem_type": "multiple-choice"}, "column problem_type is free-form, as the file's name"),
    ],
)
def test_mixeval_items_are_named_by_id(tmp_path: Path, half: str, change: dict[str, Any], rule: str) -> None:
    lay_mixeval(tmp_path)
    path = tmp_path / f"mixeval_hard/2024-08-11/{half}.json"
    items = cases.mixeval(half)
    items["41"] = {**items["41"], **change}
    path.write_text(json.dumps(items))
    assert f"{path}, item '41': " in (fault := check("mixeval_hard_2024-08-11", tmp_path, partial=False) or "")
    assert rule in fault


def test_the_file_of_another_version_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By git's id of the content: rows and columns of both MixEval versions look alike."""
    lay_mixeval(tmp_path)
    path = tmp_path / "mixeval_hard/2024-08-11/free-form.json"
    other = next(iter(SPECS["mixeval_hard_2024-08-11"].files[0].other_blobs))
    monkeypatch.setattr("bai_sweep.evaluation.data._inspect.git_blob", lambda _: other)
    fault = check("mixeval_hard_2024-08-11", tmp_path, partial=True)
    assert f"{path} is the file of MixEval-Hard 2024-06-01, not of MixEval-Hard 2024-08-11" in (fault or "")


def test_git_ids_are_gits(tmp_path: Path) -> None:
    path = tmp_path / "hello"
    path.write_bytes(b"hello\n")
    assert git_blob(path) == "ce013625030ba8dba906f756967f9e9ca394464a"  # echo hello | git hash-object --stdin


@pytest.mark.parametrize(
    ("count", "partial", "says"),
    [
        (378, False, None),
        (399, False, "MBPP+ v0.2.0 378; 399 rows are MBPP+ v0.1.0 or older"),
        (399, True, "399 rows are MBPP+ v0.1.0 or older"),
        (379, True, "has 379 rows, the file of MBPP+ v0.2.0 378; get"),
        (80, False, "has 80 rows, the file of MBPP+ v0.2.0 378; get it with"),
        (80, True, None),
    ],
)
def test_counts_tell_versions_and_subsets(tmp_path: Path, count: int, partial: bool, says: str | None) -> None:
    write_lines(tmp_path / "mbpp_plus/MbppPlus.jsonl", cases.mbpp_plus(count))
    fault = check("mbpp_plus", tmp_path, partial=partial)
    assert (fault is None) == (says is None)
    assert (says or "") in (fault or "")


def test_a_subset_is_described_as_one(tmp_path: Path) -> None:
    cases.lay_mmlu(tmp_path, ["anatomy", "virology"])
    fault = check("mmlu", tmp_path, partial=False)
    assert f"there is no {tmp_path}/mmlu/abstract_algebra_test.jsonl" in (fault or "")
    assert "and 104 more faults" in (fault or "")
    assert "or set evaluation.partial_data=true, if a subset is meant" in (fault or "")
    assert check("mmlu", tmp_path, partial=True) is None
    assert describe("mmlu", tmp_path).partial
    assert describe("mmlu", tmp_path).rows["anatomy_test"] == 135


def test_a_subject_without_its_examples_is_no_subset(tmp_path: Path) -> None:
    cases.lay_mmlu(tmp_path, ["anatomy", "virology"])
    (tmp_path / "mmlu/virology_dev.jsonl").unlink()
    fault = check("mmlu", tmp_path, partial=True)
    assert (fault or "").startswith(f"there is no {tmp_path}/mmlu/virology_dev.jsonl; get it with")


def test_livebench_counts_the_release(tmp_path: Path) -> None:
    later = [row | {"livebench_release_date": "2025-04-25"} for row in cases.livebench("math", "olympiad", 36)]
    path = write_lines(tmp_path / "livebench/math/olympiad/question.jsonl", later)
    assert f"{path} has 0 rows" in (check("livebench", tmp_path, partial=True) or "")


@pytest.mark.parametrize("partial", [False, True])
def test_every_arenahard_question_needs_its_baseline(tmp_path: Path, partial: bool) -> None:
    lay_arena_2(tmp_path)
    path = tmp_path / "arenahard/v2.0/model_answer/gemini-2.0-flash-001.jsonl"
    write_lines(path, cases.arena_answers("gemini-2.0-flash-001", 749))
    fault = check("arenahard_v2.0", tmp_path, partial=partial)
    assert f"{path}: the baseline answers every question; 1 have none, as uid 'q749'" in (fault or "")
    path.unlink()
    assert f"there is no {path}" in (check("arenahard_v2.0", tmp_path, partial=partial) or "")


def test_another_baselines_questions_may_lack_answers(tmp_path: Path) -> None:
    lay_arena_2(tmp_path)
    path = tmp_path / "arenahard/v2.0/model_answer/o3-mini-2025-01-31.jsonl"
    write_lines(path, cases.arena_answers("o3-mini-2025-01-31", 500))  # hard prompts only
    assert "has 500 rows" in (check("arenahard_v2.0", tmp_path, partial=False) or "")
    assert check("arenahard_v2.0", tmp_path, partial=True) is None


def _manifest(root: Path, **change: Any) -> None:
    path = root / "mbpp_plus/MbppPlus.jsonl"
    record = {"sha256": sha256(path), "bytes": path.stat().st_size, "rows": 378, "source": "s", "revision": "r"}
    whole = {"benchmark": "mbpp_plus", "version": "v0.2.0", "licence": "l", "fetched": "2025-01-01T00:00:00+00:00"}
    whole["files"] = {path.name: record | change.pop("record", {})}
    (root / "mbpp_plus/manifest.json").write_text(json.dumps(whole | change))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({}, None),
        ({"record": {"bytes": 5}}, "bytes, manifest.json says 5 (where the change is meant, delete manifest.json)"),
        ({"record": {"sha256": "0" * 64}}, "has another SHA-256 than manifest.json says"),
        ({"files": {}}, "MbppPlus.jsonl is not in manifest.json"),
        ({"version": "v0.1.0"}, "is of mbpp_plus v0.1.0, this folder of mbpp_plus v0.2.0"),
        ({"files": [1]}, "is not a manifest of `fetch`"),
    ],
)
def test_a_manifest_agrees_with_the_files(tmp_path: Path, change: dict[str, Any], says: str | None) -> None:
    WHOLE["mbpp_plus"](tmp_path)
    _manifest(tmp_path, **change)
    fault = check("mbpp_plus", tmp_path, partial=True)
    assert (fault is None) == (says is None)
    assert (says or "") in (fault or "")
    if fault is None:
        assert describe("mbpp_plus", tmp_path).source == "s@r"


def test_a_verdict_holds_until_the_file_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    WHOLE["aime_2024"](tmp_path)
    path = tmp_path / "aime_2024/test.jsonl"
    digest = describe("aime_2024", tmp_path).digest
    with monkeypatch.context() as patch:
        patch.setattr("bai_sweep.evaluation.data._inspect.read", lambda _: pytest.fail("the file was read again"))
        assert check("aime_2024", tmp_path, partial=False) is None
        assert describe("aime_2024", tmp_path).digest == digest
    text = path.read_text()
    path.write_text(text.replace("Find 3.", "Find 4."))  # same size
    os.utime(path, ns=(0, 0))
    assert check("aime_2024", tmp_path, partial=False) is None
    assert describe("aime_2024", tmp_path).digest != digest
    path.write_text(text[:-9])
    assert "line 30: the last line is cut off" in (check("aime_2024", tmp_path, partial=False) or "")


def test_an_empty_cache_is_a_fault_only_offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    for name in ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE", "TRANSFORMERS_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    assert check("mbpp_plus", None, partial=False) is None
    with pytest.raises(UserError, match=r"MBPP\+ v0.2.0 has not been fetched yet"):
        describe("mbpp_plus", None)
    monkeypatch.setenv("HF_DATASETS_OFFLINE", "1")
    fault = check("mbpp_plus", None, partial=False)
    place = tmp_path / "bai-sweep/benchmarks"
    assert f"MBPP+ v0.2.0 is not in {place}/mbpp_plus and this machine is offline" in (fault or "")
    assert check("aime_2024", None, partial=False) is None  # the cache of `datasets` may have it
    write_lines(place / "mbpp_plus/MbppPlus.jsonl", cases.mbpp_plus(9))
    assert "has 9 rows" in (check("mbpp_plus", None, partial=False) or "")
    monkeypatch.delenv("HF_DATASETS_OFFLINE")
    assert check("mbpp_plus", None, partial=False) is None  # loading it fetches the whole
    monkeypatch.setenv("HF_DATASETS_OFFLINE", "1")
    WHOLE["mbpp_plus"](place)
    assert check("mbpp_plus", None, partial=False) is None


def test_checking_imports_nothing_heavy(tmp_path: Path) -> None:
    WHOLE["aime_2024"](tmp_path)
    program = (
        "import sys; from bai_sweep.evaluation.data import check; "
        f"assert check('aime_2024', {str(tmp_path)!r}, partial=False) is None; "
        "print(sorted({'torch', 'datasets', 'lm_eval', 'transformers', 'pyarrow'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_folder_that_cannot_be_opened_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise PermissionError(13, "Permission denied", str(tmp_path / "math"))

    monkeypatch.setattr("bai_sweep.evaluation.data._inspect.find", refuse)  # root may open everything
    fault = check("math", tmp_path, partial=False)
    assert fault == f"{tmp_path}/math cannot be read: Permission denied; give a folder that this user may open"
