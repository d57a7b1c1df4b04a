"""The questions of one category with the baseline's answers, as documents for lm-eval."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from bai_sweep.records import UserError
from bai_sweep.scoring.arenahard._protocol import Protocol

Row = Mapping[str, Any]


def documents(files: Mapping[str, Sequence[Row]], protocol: Protocol, category: str) -> list[dict[str, str]]:
    """Every question of a category, in the file's order.

    Args:
        files: Rows of "question" and of "baseline/<model>".
        protocol: Says which model that is.
        category: One of the protocol's.

    Returns:
        `id`, `category`, `prompt` and `baseline` (its answer) of each, with `cluster` for v0.1, whose questions were
        drawn two from each of 250 topics, and `stratum` for v2, whose hard prompts are of coding and of maths.

    Raises:
        UserError: There is no such question, or one that the baseline has not answered.
    """
    model = protocol.baselines[category]
    answers = {row["uid"]: answer_of(row) for row in files.get(f"baseline/{model}", ())}
    rows = [row for row in files.get("question", ()) if row["category"] == category]
    if not rows:
        raise UserError(
            f"ArenaHard v{protocol.version} needs questions of category {category}; question.jsonl has none of them; "
            "give the official file"
        )
    if unanswered := [row["uid"] for row in rows if row["uid"] not in answers]:
        raise UserError(
            f"ArenaHard compares with an answer of {model} to every question; {len(unanswered)} of {len(rows)} have "
            f"none, as uid {unanswered[0]!r}; give the official model_answer/{model}.jsonl"
        )
    return [_document(row, answers[row["uid"]]) for row in rows]


def answer_of(row: Row) -> str:
    """The answer in a row of a `model_answer` file, whose last message is a text or `{"answer": text}`."""
    content = row["messages"][-1]["content"]
    return str(content["answer"] if isinstance(content, Mapping) else content)


def _document(row: Row, baseline: str) -> dict[str, str]:
    document = {"id": row["uid"], "category": row["category"], "prompt": row["prompt"], "baseline": baseline}
    kinds = {"cluster": row.get("cluster"), "stratum": row.get("subcategory")}
    return document | {name: str(kind) for name, kind in kinds.items() if kind is not None}
