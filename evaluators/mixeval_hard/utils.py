"""MixEval-Hard's items for lm-eval; the scoring is bai_sweep.scoring.mixeval."""

import json
from concurrent.futures import Future
from hashlib import sha256
from itertools import chain, zip_longest
from typing import Any

from datasets import Dataset

from bai_sweep.scoring import Item, required_judge, submit, weighted_mean
from bai_sweep.scoring.mixeval import (
    accuracy_of,
    prompt,
    question_of,
    score_by_judge,
    score_by_rules,
    share_unparsed,
)

METRICS = ("score", "free_form", "multiple_choice", "unparsed")
mean = weighted_mean
free_form = accuracy_of("free-form")
multiple_choice = accuracy_of("multiple-choice")
unparsed = share_unparsed


def dataset(**metadata: Any) -> dict[str, Dataset]:
    """lm-eval's `custom_dataset`: both halves in their official order, by turns, so that a limit takes of both."""
    from bai_sweep.evaluation.data import load

    halves = load(f"mixeval_hard_{metadata['version']}", metadata.get("data_dir"))
    turns = zip_longest(halves["free-form"], halves["multiple-choice"])
    return {"test": Dataset.from_list([_doc(row) for row in chain.from_iterable(turns) if row is not None])}


def _doc(row: dict[str, Any]) -> dict[str, Any]:
    question = question_of(row)
    return {
        "id": question.id,
        "cluster": sha256(f"{question.context}\n{question.prompt}".encode()).hexdigest()[:16],  # some are asked twice
        "stratum": question.half,
        "prompt": prompt(question),
        "gold": "; ".join(question.targets),
        "row": json.dumps(row, ensure_ascii=False),  # targets are texts in one half and indices in the other
    }


def process_results(doc: dict[str, Any], results: list[str]) -> dict[str, Future[Item]]:
    """The item's score by the judge, under every metric: they differ in how they are aggregated."""
    judge = required_judge("MixEval-Hard", "run the task mixeval_hard_rules, which reads them by rules")
    return dict.fromkeys(METRICS, submit(score_by_judge, question_of(json.loads(doc["row"])), results[0], judge))


def process_results_by_rules(doc: dict[str, Any], results: list[str]) -> dict[str, Item]:
    """The item's score by the rule-based parser, under every metric."""
    return dict.fromkeys(METRICS, score_by_rules(question_of(json.loads(doc["row"])), results[0]))
