"""The items of testbed_knowledge, made by code: no hub and no file."""

from typing import Any

from datasets import Dataset

from bai_sweep.testbed import knowledge_items


def dataset(**metadata: Any) -> dict[str, Dataset]:
    """lm-eval's `custom_dataset`: one test split. The task's metadata is passed and not needed."""
    return {"test": Dataset.from_list(knowledge_items())}
