"""LiveBench's questions for lm-eval; the scoring is bai_sweep.scoring.livebench."""

import json
from collections.abc import Callable, Iterable
from typing import Any

from datasets import Dataset

from bai_sweep.records import UserError
from bai_sweep.scoring import Pending, resources, submit, weighted_mean
from bai_sweep.scoring.livebench import coding, score, select

mean = weighted_mean


def dataset(
    *, category: str, task: str, release: str, data_dir: str | None = None, **_metadata: Any
) -> dict[str, Dataset]:
    """lm-eval's `custom_dataset`: the questions of a task that belong to the release, in their official order."""
    from bai_sweep.evaluation.data import load

    rows = load("livebench", data_dir)
    if f"{category}/{task}" not in rows:
        raise UserError(
            f"LiveBench's {task} needs the file livebench/{category}/{task}/question; the data folder lacks it; fetch "
            f"it, or run the tasks of {', '.join(rows)} by their own names"
        )
    questions = select(rows[f"{category}/{task}"], release)
    return {"test": Dataset.from_list([_doc(category, task, question) for question in questions])}


def _doc(category: str, task: str, question: dict[str, Any]) -> dict[str, Any]:
    return {
        "id": question["question_id"],
        "cluster": question["question_id"],
        "category": category,
        "task": task,
        "prompt": question["turns"][0],
        "target": str(question.get("ground_truth") or ""),
        "question": json.dumps(question, default=str),  # with fields of mixed types, which Arrow does not take
    }


def process_results(doc: dict[str, Any], results: list[str]) -> dict[str, Pending]:
    """The answer's score under both metrics, which differ in how they are aggregated; programs run in a sandbox."""
    question, answer = json.loads(doc["question"]), results[0]
    points: Pending
    if doc["category"] == "coding":
        points = submit(coding.score, question, answer, resources().sandbox)
    else:
        points = score(doc["category"], doc["task"], question, answer)
    return {"score": points, "average": points}


def _average(tasks: int) -> Callable[[Iterable[Pending]], float]:
    """The mean scaled so that over all 18 tasks each category of the six counts as much as any other."""
    return lambda values: 18 / 6 / tasks * mean(values)


average_of_two = _average(2)
average_of_four = _average(4)
