"""MATH's problems for lm-eval; the scoring is bai_sweep.scoring.mathematics."""

from typing import Any

from datasets import Dataset

from bai_sweep.scoring import Item, weighted_mean
from bai_sweep.scoring.mathematics import accuracy_at, prompt, reference_answer, score_math, share_unanswered

mean = weighted_mean
unanswered = share_unanswered
level_1 = accuracy_at(1)
level_2 = accuracy_at(2)
level_3 = accuracy_at(3)
level_4 = accuracy_at(4)
level_5 = accuracy_at(5)

METRICS = ("exact_match", "no_answer", "level_1", "level_2", "level_3", "level_4", "level_5")


def dataset(**metadata: Any) -> dict[str, Dataset]:
    """lm-eval's `custom_dataset`: the 5,000 test problems."""
    return _dataset("math", metadata)


def dataset_500(**metadata: Any) -> dict[str, Dataset]:
    """lm-eval's `custom_dataset`: the 500 of them that Lightman et al. held out."""
    return _dataset("math500", metadata)


def _dataset(benchmark: str, metadata: dict[str, Any]) -> dict[str, Dataset]:
    from bai_sweep.evaluation.data import load

    rows = load(benchmark, metadata.get("data_dir"))["test"]
    return {"test": Dataset.from_list([_doc(row, number) for number, row in enumerate(rows)])}


def _doc(row: dict[str, Any], number: int) -> dict[str, Any]:
    subject = str(row.get("subject") or row.get("type") or "")
    return {
        "id": str(row.get("unique_id") or number),
        "problem": row["problem"],
        "prompt": prompt(row["problem"]),
        "answer": reference_answer(row),
        "level": int(str(row.get("level") or 0).removeprefix("Level ").replace("?", "0")),
        "subject": subject,
        "stratum": subject,
    }


def process_results(doc: dict[str, Any], results: list[list[str]]) -> dict[str, Item]:
    """The item's score under every metric: they differ in how they are aggregated."""
    item = score_math(results[0], doc["answer"], level=doc["level"], subject=doc["subject"])
    return dict.fromkeys(METRICS, item)
