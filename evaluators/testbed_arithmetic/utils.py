"""The items of testbed_arithmetic and how a response is scored."""

from typing import Any

from datasets import Dataset

from bai_sweep.testbed import arithmetic_items, extract_answer


def dataset(**metadata: Any) -> dict[str, Dataset]:
    """lm-eval's `custom_dataset`: one test split. The task's metadata is passed and not needed."""
    return {"test": Dataset.from_list(arithmetic_items())}


def process_results(doc: dict[str, Any], results: list[str]) -> dict[str, float]:
    """1 if the answer given after ``</think>`` is the exact one, else 0."""
    return {"exact_match": float(extract_answer(results[0]) == doc["answer"])}
