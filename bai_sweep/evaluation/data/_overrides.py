"""What lm-eval's own tasks need to read local files instead of the hub."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bai_sweep.evaluation.data._load import load
from bai_sweep.evaluation.data._places import folder_of, resolve, spec_of
from bai_sweep.evaluation.data._reading import find
from bai_sweep.evaluation.data.benchmarks import MMLU_SUBJECTS
from bai_sweep.records import UserError


def lm_eval_overrides(benchmark: str, data_dir: str | Path | None) -> Mapping[str, Mapping[str, Any]]:
    """For each subtask with data, the keys that a group YAML sets beside `task: <name>`.

    Args:
        benchmark: `mmlu` or `mmlu_pro`, whose tasks in lm-eval are used as they are.
        data_dir: the folder with all benchmarks; None is the user's cache.

    Returns:
        lm-eval's task name -> dataset_path, dataset_name (null), dataset_kwargs; subjects without rows are left out.

    Raises:
        UserError: another benchmark, no data, or files of a subject in two forms.
    """
    if benchmark == "mmlu":
        return {
            f"mmlu_{subject}": _override(benchmark, data_dir, _mmlu_stems(subject)) for subject in _there(data_dir)
        }
    if benchmark == "mmlu_pro":
        override = _override(benchmark, data_dir, {"test": "test", "validation": "validation"})
        categories = dict.fromkeys(row["category"] for row in load(benchmark, resolve(data_dir))["test"])
        return {f"mmlu_pro_{category.replace(' ', '_')}": override for category in sorted(categories)}
    raise UserError(f"lm-eval's own tasks are used for mmlu and mmlu_pro; got {benchmark!r}")


def _there(data_dir: str | Path | None) -> list[str]:
    folder = folder_of(spec_of("mmlu"), data_dir)
    subjects = [subject for subject in MMLU_SUBJECTS if find(folder, f"{subject}_test")]
    if not subjects:
        raise UserError(f"MMLU lies in {folder}, which has none of its files")
    return subjects


def _mmlu_stems(subject: str) -> dict[str, str]:
    return {"test": f"{subject}_test", "dev": f"{subject}_dev"}


def _override(benchmark: str, data_dir: str | Path | None, stems: Mapping[str, str]) -> dict[str, Any]:
    """`stems`: split -> stem; `datasets` reads one form a task, JSON lines (gzip or not) or parquet."""
    folder = folder_of(spec_of(benchmark), data_dir)
    files = {split: path for split, stem in stems.items() if (path := find(folder, stem))}
    if absent := sorted(set(stems) - set(files)):
        raise UserError(f"there is no {folder / stems[absent[0]]}.jsonl, which lm-eval's task needs")
    builders = {"parquet" if path.suffix == ".parquet" else "json" for path in files.values()}
    if len(builders) > 1:
        raise UserError(f"files of a task are all .jsonl or all .parquet; got {', '.join(map(str, files.values()))}")
    data_files = {split: str(path) for split, path in files.items()}
    return {"dataset_path": builders.pop(), "dataset_name": None, "dataset_kwargs": {"data_files": data_files}}
