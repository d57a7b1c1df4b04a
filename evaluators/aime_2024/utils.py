"""The problems of AIME 2024 for lm-eval; the scoring is bai_sweep.scoring.mathematics."""

from typing import Any

from datasets import Dataset

from bai_sweep.scoring import Item, weighted_mean
from bai_sweep.scoring.mathematics import prompt, score_aime

mean = weighted_mean


def dataset(**metadata: Any) -> dict[str, Dataset]:
    """lm-eval's `custom_dataset`: the 30 problems."""
    from bai_sweep.evaluation.data import load

    rows = load("aime_2024", metadata.get("data_dir"))["test"]
    return {"test": Dataset.from_list([_doc(row) for row in rows])}


def _doc(row: dict[str, Any]) -> dict[str, Any]:
    problem = row["problem"]
    return {"id": str(row["id"]), "problem": problem, "prompt": prompt(problem), "answer": str(row["answer"])}


def process_results(doc: dict[str, Any], results: list[list[str]]) -> dict[str, Item]:
    """What the k responses score: their mean, their majority, the best of them."""
    return score_aime(results[0], doc["answer"])
