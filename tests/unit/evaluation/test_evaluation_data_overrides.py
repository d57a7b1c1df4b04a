"""lm-eval's own tasks read local files with the overrides, as lm-eval itself loads them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import evaluation_data_cases as cases
import pyarrow
import pytest
import yaml
from evaluation_data_cases import write_lines
from pyarrow import parquet

from bai_sweep.evaluation.data import lm_eval_overrides
from bai_sweep.records import UserError


def test_mmlu_gives_each_subject_its_files(tmp_path: Path) -> None:
    cases.lay_mmlu(tmp_path, ["virology", "anatomy"])
    overrides = lm_eval_overrides("mmlu", tmp_path)
    assert list(overrides) == ["mmlu_anatomy", "mmlu_virology"]
    assert overrides["mmlu_anatomy"] == {
        "dataset_path": "json",
        "dataset_name": None,
        "dataset_kwargs": {
            "data_files": {
                "test": f"{tmp_path}/mmlu/anatomy_test.jsonl",
                "dev": f"{tmp_path}/mmlu/anatomy_dev.jsonl",
            }
        },
    }


def test_mmlu_pro_gives_the_categories_that_have_rows(tmp_path: Path) -> None:
    for split in ("test", "validation"):
        write_lines(tmp_path / f"mmlu_pro/{split}.jsonl.gz", cases.mmlu_pro(9))
    overrides = lm_eval_overrides("mmlu_pro", tmp_path)
    assert list(overrides) == ["mmlu_pro_computer_science", "mmlu_pro_law", "mmlu_pro_math"]
    files = overrides["mmlu_pro_law"]["dataset_kwargs"]["data_files"]
    assert files == {split: f"{tmp_path}/mmlu_pro/{split}.jsonl.gz" for split in ("test", "validation")}


def test_parquet_has_its_own_builder(tmp_path: Path) -> None:
    (tmp_path / "mmlu").mkdir()
    for split, count in (("test", 135), ("dev", 5)):
        table = pyarrow.Table.from_pylist(cases.mmlu("anatomy", count))
        parquet.write_table(table, tmp_path / f"mmlu/anatomy_{split}.parquet")
    override = lm_eval_overrides("mmlu", tmp_path)["mmlu_anatomy"]
    assert override["dataset_path"] == "parquet"
    write_lines(tmp_path / "mmlu/anatomy_dev.jsonl", cases.mmlu("anatomy", 5))
    with pytest.raises(
        UserError, match=r"files of a task are all \.jsonl or all \.parquet; got .*test\.parquet, .*jsonl"
    ):
        lm_eval_overrides("mmlu", tmp_path)


@pytest.mark.parametrize(
    ("benchmark", "message"),
    [
        ("mmlu", "MMLU lies in .*, which has none of its files"),
        ("mmlu_pro", "there is no .*mmlu_pro/test.jsonl, which lm-eval's task needs"),
        ("math", "lm-eval's own tasks are used for mmlu and mmlu_pro; got 'math'"),
    ],
)
def test_what_cannot_be_overridden_is_said(tmp_path: Path, benchmark: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        lm_eval_overrides(benchmark, tmp_path)


def _lm_eval_tasks(group: str, folder: str, overrides: dict[str, Any], tmp_path: Path) -> dict[str, Any]:
    """The tasks of a group YAML, loaded by lm-eval with only its folder `folder` indexed."""
    import lm_eval
    from lm_eval.tasks import TaskManager

    members = [{"task": name, **override} for name, override in overrides.items()]
    overlay = tmp_path / "overlay"
    overlay.mkdir()
    (overlay / f"{group}.yaml").write_text(yaml.safe_dump({"group": group, "task": members}))
    shipped = Path(lm_eval.__file__).parent / "tasks" / folder
    manager = TaskManager(include_path=[str(overlay), str(shipped)], include_defaults=False)
    return dict(manager.load([group])["tasks"])


@pytest.fixture
def quiet_datasets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "hf-cache")
    datasets.disable_progress_bars()


@pytest.mark.usefixtures("quiet_datasets")
def test_lm_eval_loads_mmlu_from_the_files(tmp_path: Path) -> None:
    cases.lay_mmlu(tmp_path, ["anatomy", "virology"])
    tasks = _lm_eval_tasks("local_mmlu", "mmlu/default", dict(lm_eval_overrides("mmlu", tmp_path)), tmp_path)
    assert {name: len(task.test_docs()) for name, task in tasks.items()} == {"mmlu_anatomy": 135, "mmlu_virology": 166}
    document = tasks["mmlu_anatomy"].test_docs()[7]
    assert tasks["mmlu_anatomy"].doc_to_text(document) == "Which is 7?\nA. 0\nB. 1\nC. 2\nD. 7\nAnswer:"
    assert len(list(tasks["mmlu_anatomy"].fewshot_docs())) == 5


@pytest.mark.usefixtures("quiet_datasets")
def test_lm_eval_loads_mmlu_pro_from_the_files(tmp_path: Path) -> None:
    write_lines(tmp_path / "mmlu_pro/test.jsonl", cases.mmlu_pro(30))
    write_lines(tmp_path / "mmlu_pro/validation.jsonl", cases.mmlu_pro(15))
    tasks = _lm_eval_tasks("local_pro", "mmlu_pro", dict(lm_eval_overrides("mmlu_pro", tmp_path)), tmp_path)
    assert {name: len(task.test_docs()) for name, task in tasks.items()} == dict.fromkeys(
        ["mmlu_pro_computer_science", "mmlu_pro_law", "mmlu_pro_math"], 10
    )
    assert {row["category"] for row in tasks["mmlu_pro_law"].test_docs()} == {"law"}
