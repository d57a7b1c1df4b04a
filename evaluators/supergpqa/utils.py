"""SuperGPQA's items for lm-eval; the scoring is bai_sweep.scoring.supergpqa."""

from typing import Any

from datasets import Dataset

from bai_sweep.scoring import Item, weighted_mean
from bai_sweep.scoring.supergpqa import (
    accuracy_within,
    macro_accuracy,
    prompt,
    score,
    share_unanswered,
)

mean = weighted_mean
unanswered = share_unanswered
by_discipline = macro_accuracy("discipline")
by_field = macro_accuracy("field")
by_subfield = macro_accuracy("subfield")
easy = accuracy_within("difficulty", "easy")
middle = accuracy_within("difficulty", "middle")
hard = accuracy_within("difficulty", "hard")
agronomy = accuracy_within("discipline", "Agronomy")
economics = accuracy_within("discipline", "Economics")
education = accuracy_within("discipline", "Education")
engineering = accuracy_within("discipline", "Engineering")
history = accuracy_within("discipline", "History")
law = accuracy_within("discipline", "Law")
literature_and_arts = accuracy_within("discipline", "Literature and Arts")
management = accuracy_within("discipline", "Management")
medicine = accuracy_within("discipline", "Medicine")
military_science = accuracy_within("discipline", "Military Science")
philosophy = accuracy_within("discipline", "Philosophy")
science = accuracy_within("discipline", "Science")
sociology = accuracy_within("discipline", "Sociology")

METRICS = (
    "acc",
    "no_answer",
    *(f"macro_{level}" for level in ("discipline", "field", "subfield")),
    *(f"acc_{difficulty}" for difficulty in ("easy", "middle", "hard")),
    "acc_agronomy",
    "acc_economics",
    "acc_education",
    "acc_engineering",
    "acc_history",
    "acc_law",
    "acc_literature_and_arts",
    "acc_management",
    "acc_medicine",
    "acc_military_science",
    "acc_philosophy",
    "acc_science",
    "acc_sociology",
)


def dataset(**metadata: Any) -> dict[str, Dataset]:
    """lm-eval's `custom_dataset`: the rows in their official order."""
    from bai_sweep.evaluation.data import load

    rows = load("supergpqa", metadata.get("data_dir"))["test"]
    return {"test": Dataset.from_list([_doc(row) for row in rows])}


def _doc(row: dict[str, Any]) -> dict[str, Any]:
    asked = prompt(row["question"], row["options"])
    return {**row, "id": row["uuid"], "stratum": row["discipline"], "prompt": asked}


def process_results(doc: dict[str, Any], results: list[str]) -> dict[str, Item]:
    """The item's score under every metric: they differ in how they are aggregated."""
    return dict.fromkeys(METRICS, score(doc, results[0]))
