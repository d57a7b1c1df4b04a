"""An item of SuperGPQA: how it is asked and what a response to it scores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from bai_sweep.scoring._item import Item
from bai_sweep.scoring.supergpqa._extract import extract

_INSTRUCTION = (
    "Answer the following multiple choice question. There is only one correct answer. The last line of your response "
    "should be in the format 'Answer: $LETTER' (without quotes), where LETTER is one of A, B, C, D, E, F, G, H, I, or "
    "J."
)


def prompt(question: str, options: Sequence[str]) -> str:
    """The user's message: the instruction, the question, a line `A) ...` for each option, and a line's end.

    The wording is the protocol of SuperGPQA/SuperGPQA, config/prompt/zero-shot.yaml and infer/data_loader.py.
    """
    lines = (f"{chr(ord('A') + number)}) {option}\n" for number, option in enumerate(options))
    return f"{_INSTRUCTION}\n\n{question}\n{''.join(lines)}"


def subfield_of(row: Mapping[str, Any]) -> str:
    """The subfield with what it lies in, as one name may stand in two fields."""
    return f"{row['discipline']}/{row['field']}/{row['subfield']}"


def score(row: Mapping[str, Any], response: str) -> Item:
    """1 where the response names the answer, else 0; a response without an answer is wrong.

    Args:
        row: A row of m-a-p/SuperGPQA.
        response: Without its thought.

    Returns:
        With `detail`: the extracted letter (None: no answer) and the groups that the report averages over.
    """
    named = extract(response, row["options"])
    groups = {
        "discipline": row["discipline"],
        "field": f"{row['discipline']}/{row['field']}",
        "subfield": subfield_of(row),
        "difficulty": row["difficulty"],
    }
    return Item(float(named == row["answer_letter"]), detail={"extracted": named, **groups})
