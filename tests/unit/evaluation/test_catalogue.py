"""Tasks and their datasets, found without lm-eval."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from bai_sweep.evaluation._catalogue import Dataset, find_task
from bai_sweep.records import UserError


def test_a_group_of_tags_is_followed_to_its_datasets() -> None:
    source = find_task("mmlu")
    assert source.spec == "mmlu"
    assert len(source.datasets) == 57
    assert Dataset("cais/mmlu", "anatomy", ()) in source.datasets
    assert [folder.name for folder in source.folders] == ["default"]


def test_subtasks_that_share_a_dataset_name_it_once() -> None:
    assert find_task("mmlu_pro").datasets == (Dataset("TIGER-Lab/MMLU-Pro", None, ()),)


def test_our_own_tasks_need_no_dataset() -> None:
    source = find_task("testbed_knowledge")
    assert source.datasets == ()
    assert [folder.name for folder in source.folders] == ["testbed_knowledge"]


def test_a_task_by_path_reads_its_include(tmp_path: Path) -> None:
    files = "{data_files: {test: [/a, /b], train: /c}}"
    (tmp_path / "_shared").write_text(f"dataset_path: json\ndataset_kwargs: {files}\n")
    path = tmp_path / "mine.yaml"
    path.write_text("task: mine\ninclude: _shared\nprocess_results: !function utils.f\n")
    source = find_task(str(path))
    assert (source.spec, source.folders) == (str(path), ())  # a single task by path needs nothing indexed
    assert source.datasets == (Dataset("json", None, ("/a", "/b", "/c")),)


def test_a_group_may_put_local_data_under_a_shipped_task(tmp_path: Path) -> None:
    path = tmp_path / "group.yaml"
    path.write_text(
        "group: mine\ntask:\n- {task: mmlu_anatomy, dataset_path: json, dataset_name: null,\n"
        "   dataset_kwargs: {data_files: /here.jsonl}}\n- aime24\n"
    )
    source = find_task(str(path))
    assert source.spec == "mine"  # lm-eval cannot load a group by its path
    assert source.datasets == (Dataset("json", None, ("/here.jsonl",)), Dataset("Maxwell-Jia/AIME_2024", None, ()))
    assert [folder.name for folder in source.folders] == ["default", "aime", tmp_path.name]  # ours overrides: last


@pytest.mark.parametrize("name", ["mmlu_prp", "/nowhere/task.yaml"])
def test_an_unknown_task_is_an_error(name: str) -> None:
    with pytest.raises(UserError, match=f"no lm-eval task or group is named '{name}'; looked in .*evaluators"):
        find_task(name)


def test_a_check_imports_neither_torch_nor_lm_eval() -> None:
    code = (
        "import sys, bai_sweep.evaluation as e; from bai_sweep.evaluation._catalogue import find_task;"
        "find_task('testbed_arena'); find_task('aime24');"
        "print(*{'torch', 'transformers', 'lm_eval', 'datasets'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
