"""MBPP+'s tasks for lm-eval; the scoring is bai_sweep.scoring.mbpp."""

from concurrent.futures import Future
from dataclasses import asdict
from typing import Any

from datasets import Dataset

from bai_sweep.scoring import Item, resources, submit, weighted_mean
from bai_sweep.scoring.mbpp import Task, base_item, extract_code, prompt, score

mean = weighted_mean


def dataset(**metadata: Any) -> dict[str, Dataset]:
    """lm-eval's `custom_dataset`: a row a task, inputs as JSON text, as their types differ from task to task."""
    from bai_sweep.evaluation.data import load

    rows = load("mbpp_plus", metadata.get("data_dir"))["test"]
    return {"test": Dataset.from_list([_doc(Task.of(row)) for row in rows])}


def _doc(task: Task) -> dict[str, Any]:
    return {"id": task.task_id, **asdict(task), "message": prompt(task.prompt)}


def process_results(doc: dict[str, Any], results: list[str]) -> dict[str, Future[Item]]:
    """One run in the sandbox, from which both metrics come."""
    code = extract_code(results[0], doc["entry_point"])
    scored = submit(score, Task.of(doc), code, resources().sandbox)
    return {"pass_at_1": scored, "base_pass_at_1": submit(base_item, scored)}
