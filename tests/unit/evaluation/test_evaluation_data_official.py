"""The real files of the benchmarks, where they lie beside this checkout: whole ones, samples, old versions."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from bai_sweep.evaluation.data import check, describe, load
from bai_sweep.evaluation.data._files import git_blob
from bai_sweep.evaluation.data.benchmarks import SPECS

Shared = Callable[[str], Path]


def _lay(root: Path, shared: Shared, files: Mapping[str, str]) -> Path:
    """Links real files into the layout."""
    for name, real in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.symlink_to(shared(real))
    return root


@pytest.mark.parametrize("version", ["2024-06-01", "2024-08-11"])
def test_mixeval_is_whole(tmp_path: Path, shared_data: Shared, version: str) -> None:
    name = f"mixeval_hard_{version}"
    halves = {
        f"mixeval_hard/{version}/{half}.json": f"mixeval_hard/mixeval-{version}/mixeval-hard/{half}.json"
        for half in ("free-form", "multiple-choice")
    }
    root = _lay(tmp_path, shared_data, halves)
    assert check(name, root, partial=False) is None
    assert describe(name, root).rows == {"free-form": 500, "multiple-choice": 500}
    assert load(name, root)["multiple-choice"][499]["id"] == "499"
    for file in SPECS[name].files:
        assert git_blob(root / f"mixeval_hard/{version}/{file.stem}.json") == file.sources[0].blob


def test_the_other_mixeval_is_told(tmp_path: Path, shared_data: Shared) -> None:
    swapped = {
        f"mixeval_hard/2024-06-01/{half}.json": f"mixeval_hard/mixeval-2024-08-11/mixeval-hard/{half}.json"
        for half in ("free-form", "multiple-choice")
    }
    fault = check("mixeval_hard_2024-06-01", _lay(tmp_path, shared_data, swapped), partial=True)
    assert "free-form.json is the file of MixEval-Hard 2024-08-11, not of MixEval-Hard 2024-06-01" in (fault or "")
    assert "multiple-choice.json is the file of MixEval-Hard 2024-08-11" in (fault or "")


def test_arenahard_1_is_whole(tmp_path: Path, shared_data: Shared) -> None:
    real = {
        f"arenahard/v0.1/{file.stem}.jsonl": f"arenahard/arena-hard-v0.1/{file.stem}.jsonl"
        for file in SPECS["arenahard_v0.1"].files
    }
    root = _lay(tmp_path, shared_data, real)
    assert check("arenahard_v0.1", root, partial=False) is None
    assert {row["messages"][-1]["role"] for row in load("arenahard_v0.1", root)["baseline/gpt-4-0314"]} == {
        "assistant"
    }


def test_arenahard_2_lacks_its_baselines(tmp_path: Path, shared_data: Shared) -> None:
    real = {"arenahard/v2.0/question.jsonl": "arenahard/arena-hard-v2.0/question.jsonl"}
    root = _lay(tmp_path, shared_data, real)
    fault = check("arenahard_v2.0", root, partial=True)
    for model in ("o3-mini-2025-01-31", "gemini-2.0-flash-001"):
        assert f"there is no {root}/arenahard/v2.0/model_answer/{model}.jsonl" in (fault or "")
    assert len(load("arenahard_v2.0", root)["question"]) == 750
    assert git_blob(root / "arenahard/v2.0/question.jsonl") == SPECS["arenahard_v2.0"].files[0].sources[0].blob


def test_the_questions_of_the_other_arenahard_are_told(tmp_path: Path, shared_data: Shared) -> None:
    real = {"arenahard/v2.0/question.jsonl": "arenahard/arena-hard-v0.1/question.jsonl"}
    fault = check("arenahard_v2.0", _lay(tmp_path, shared_data, real), partial=True)
    assert "line 1: column subcategory is missing" in (fault or "")


@pytest.mark.parametrize(
    ("benchmark", "real", "count"),
    [("math500", "math/math500.jsonl", 500), ("aime_2024", "aime24/aime24_qwen25math.jsonl", 30)],
)
def test_mathematics_is_whole(tmp_path: Path, shared_data: Shared, benchmark: str, real: str, count: int) -> None:
    root = _lay(tmp_path, shared_data, {f"{benchmark}/test.jsonl": real})
    assert check(benchmark, root, partial=False) is None
    assert not describe(benchmark, root).partial
    assert len({row.get("unique_id") or row["id"] for row in load(benchmark, root)["test"]}) == count


def test_math500_is_a_part_of_math(tmp_path: Path, shared_data: Shared) -> None:
    root = _lay(tmp_path, shared_data, {"math/test.jsonl": "math/math500.jsonl"})
    fault = check("math", root, partial=False)
    assert "500 rows, the file of MATH 5,000; 500 rows are MATH-500 (benchmark math500)" in (fault or "")
    assert check("math", root, partial=True) is None


def test_the_old_mbpp_plus_is_told(tmp_path: Path, shared_data: Shared) -> None:
    root = _lay(tmp_path, shared_data, {"mbpp_plus/MbppPlus.jsonl": "mbpp_plus/MbppPlus_2023-11-16.jsonl"})
    fault = check("mbpp_plus", root, partial=True)
    assert "has 399 rows, the file of MBPP+ v0.2.0 378; 399 rows are MBPP+ v0.1.0 or older" in (fault or "")
    first = tmp_path / "first"
    first.mkdir()
    lines = (root / "mbpp_plus/MbppPlus.jsonl").read_text().splitlines(keepends=True)
    (first / "mbpp_plus").mkdir()
    (first / "mbpp_plus/MbppPlus.jsonl").write_text("".join(lines[:80]))
    assert check("mbpp_plus", first, partial=True) is None  # its rows are right


def test_supergpqa_is_a_sample(tmp_path: Path, shared_data: Shared) -> None:
    root = _lay(tmp_path, shared_data, {"supergpqa/test.jsonl": "supergpqa/supergpqa_sample600.jsonl"})
    assert "has 600 rows, the file of SuperGPQA 26,529" in (check("supergpqa", root, partial=False) or "")
    assert check("supergpqa", root, partial=True) is None
    assert describe("supergpqa", root).partial


def test_mmlu_has_four_subjects(tmp_path: Path, shared_data: Shared) -> None:
    folder = shared_data("mmlu/hf_schema")
    root = _lay(
        tmp_path, shared_data, {f"mmlu/{path.name}": f"mmlu/hf_schema/{path.name}" for path in folder.iterdir()}
    )
    assert check("mmlu", root, partial=True) is None
    version = describe("mmlu", root)
    assert version.partial
    assert {key: rows for key, rows in version.rows.items() if key.endswith("_test")} == {
        "abstract_algebra_test": 100,
        "anatomy_test": 135,
        "college_physics_test": 102,
        "philosophy_test": 311,
    }


def test_stem_subjects_have_the_official_counts(shared_data: Shared) -> None:
    """The counts in the table against a file of 18 subjects in another form."""
    counts: dict[str, int] = {}
    for line in shared_data("mmlu/mmlu_stem_qwen.jsonl").read_text().splitlines():
        subject = json.loads(line)["type"]
        counts[subject] = counts.get(subject, 0) + 1
    table = {file.key: file.rows for file in SPECS["mmlu"].files}
    assert counts == {subject: table[f"{subject}_test"] for subject in counts}
    assert len(counts) == 18


def test_mmlu_pro_is_a_sample_with_columns_of_its_own(tmp_path: Path, shared_data: Shared) -> None:
    sample = "mmlu_pro/mmlu_pro_sample_with_llama3-70b_outputs.jsonl"
    root = _lay(tmp_path, shared_data, {"mmlu_pro/test.jsonl": sample})
    assert f"there is no {root}/mmlu_pro/validation.jsonl" in (check("mmlu_pro", root, partial=True) or "")
    lines = (root / "mmlu_pro/test.jsonl").read_text().splitlines(keepends=True)
    (root / "mmlu_pro/validation.jsonl").write_text("".join(lines[::12]))  # 70 rows in the place of the official ones
    assert check("mmlu_pro", root, partial=True) is None
    assert describe("mmlu_pro", root).rows == {"test": 840, "validation": 70}


def test_livebench_counts_its_release(tmp_path: Path, shared_data: Shared) -> None:
    folder = shared_data("livebench")
    names = [f"livebench/{path.relative_to(folder)}" for path in folder.glob("*/*/question.jsonl")]
    root = _lay(tmp_path, shared_data, {name: name for name in names})
    assert check("livebench", root, partial=True) is None
    assert describe("livebench", root).rows == {
        "data_analysis/tablejoin": 50,
        "data_analysis/tablereformat": 50,
        "instruction_following/paraphrase": 50,
        "instruction_following/simplify": 50,
        "instruction_following/story_generation": 50,
        "math/AMPS_Hard": 100,
        "math/math_comp": 96,
        "reasoning/spatial": 50,
        "reasoning/zebra_puzzle": 50,
    }
    assert len(load("livebench", root)["math/math_comp"]) == 146  # all releases: the evaluator chooses
    fault = check("livebench", root, partial=False)
    assert f"there is no {root}/livebench/coding/LCB_generation/question.jsonl" in (fault or "")
