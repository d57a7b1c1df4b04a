"""The program in an answer."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

FENCE = "```"
_THOUGHT = re.compile(r"<think>.*?</think>", re.DOTALL)


def solution(question: Mapping[str, Any], answer: str) -> str:
    """The program that is tested: the code, behind the question's beginning of it where the answer leaves that out.

    A thought in <think> tags does not count.

    Source: LiveBench/LiveBench, `livebench/process_results/coding/utils.py`, `LCB_generation_process_results`.
    """
    code = extract_code(_THOUGHT.sub("", answer))
    beginning = question.get("partial_solution") or ""
    return code if code.startswith(beginning) else f"{beginning}\n{code}"


def extract_code(answer: str) -> str:
    """What stands between the last two lines with a fence; without two, the answer without a fence at its end.

    Source: LiveBench/LiveBench, `livebench/lcb_runner/utils/extraction_utils.py`, `extract_code` for chat models.
    """
    text = answer.rstrip()
    lines = text.split("\n")
    fences = [number for number, line in enumerate(lines) if FENCE in line]
    if len(fences) >= 2:
        return "\n".join(lines[fences[-2] + 1 : fences[-1]])
    if len(answer) > 1 and answer[0] == "`" == answer[-1]:
        return answer[1:-1]
    if fences == [len(lines) - 1]:
        return "\n".join(lines[:-1])
    return text
