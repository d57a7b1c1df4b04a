"""Which option a response names. The rules are those of TIGER-AI-Lab/MMLU-Pro, evaluate_from_api.py."""

from __future__ import annotations

import re

_SENTENCE = re.compile(r"answer is \(?([A-J])\)?")
_LABEL = re.compile(r"[aA]nswer:\s*([A-J])")
_LETTER = re.compile(r"\b[A-J]\b")


def extract(response: str) -> str | None:
    """The letter of the first "answer is (X)"; None where nothing is said so, which scores 0.

    The first, not the last: a response that weighs an answer before it settles on another is taken at its first word.
    """
    found = _SENTENCE.search(response)
    return found[1] if found else None


def extract_with_fallbacks(response: str) -> str | None:
    """By `extract`; else the last "Answer: X" of the first line that has one; else the last letter that stands alone.

    The official chain of later releases, in time linear in the response.
    """
    if (letter := extract(response)) is not None:
        return letter
    labels = list(_LABEL.finditer(response))
    if labels:
        end = response.find("\n", labels[0].start())
        return [label[1] for label in labels if end < 0 or label.start() < end][-1]
    letters: list[str] = _LETTER.findall(response)
    return letters[-1] if letters else None
