"""What the judge is asked. The texts beside this module are arena-hard-auto's, word for word: its protocol."""

from __future__ import annotations

from functools import cache
from pathlib import Path

CREATIVE_WRITING = "creative_writing"
# What v0.1 answers to a judgment without a mark (gen_judgment.py).
GO_ON = "continue your judgment and finish by outputting a final verdict label"


def judge_messages(category: str, question: str, answer_a: str, answer_b: str) -> list[dict[str, str]]:
    """The conversation that the judge is to continue.

    Args:
        category: The question's: creative writing has a judge that gives no answer of its own first.
        question: The user's prompt.
        answer_a: Shown first.
        answer_b: Shown second.
    """
    system = "judge_system_creative_writing.txt" if category == CREATIVE_WRITING else "judge_system.txt"
    user = _text("judge_user.txt").format(QUESTION=question, ANSWER_A=answer_a, ANSWER_B=answer_b)
    return [{"role": "system", "content": _text(system)}, {"role": "user", "content": user}]


@cache
def _text(name: str) -> str:
    """The quotation, without the lines that say whose it is and the file's last line end."""
    return Path(__file__).with_name(name).read_text(encoding="utf-8").partition("\n\n")[2].removesuffix("\n")
