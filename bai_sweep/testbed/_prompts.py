"""What PPO sees of the testbed: prompts with their answers, and the reward that checks an answer."""

from __future__ import annotations

import random
import re
from typing import Any

from bai_sweep.testbed._arithmetic import Split, draw_problem
from bai_sweep.testbed._corpora import ask_problem
from bai_sweep.testbed._teacher import END_THINK, THINK
from bai_sweep.testbed._world import world

ARITHMETIC_SHARE = 0.85

Message = dict[str, str]
ANSWER = re.compile(r"the answer is (\w+)")
WORD = re.compile(r"\w+")


def prompt_dataset(n: int, seed: int, split: Split = "train") -> list[dict[str, Any]]:
    """Prompts for PPO, 85 % of them chains of arithmetic and the others questions about facts.

    The held-out split has the chains that no training ever shows and the facts that none ever asks for (pretraining
    does state them).

    Args:
        n: How many rows.
        seed: Seed of the draw.
        split: ``"train"`` or ``"heldout"``; the two never share a prompt.

    Returns:
        Rows with `prompt` (a conversation of one user message), `answer` and `kind` (``"arithmetic"`` or ``"fact"``).
    """
    rng = random.Random(f"{seed}/{split}")
    return [_row(rng, split) for _ in range(n)]


def _row(rng: random.Random, split: Split) -> dict[str, Any]:
    if rng.random() < ARITHMETIC_SHARE:
        problem = draw_problem(rng, split)
        return as_row(ask_problem(problem, rng), str(problem.answer), "arithmetic")
    fact = world().draw_fact(rng, popular=True, asked=split == "train")
    return as_row(fact.question, fact.value, "fact")


def as_row(question: str, answer: str, kind: str) -> dict[str, Any]:
    """One row of the prompt dataset."""
    return {"prompt": [{"role": "user", "content": question}], "answer": answer, "kind": kind}


def extract_answer(text: str) -> str | None:
    """The answer that a response commits to, or None.

    Only what follows the last ``</think>`` counts; a thought that is opened and never closed commits to nothing. The
    answer is the word after the last "the answer is", or else the last word.
    """
    rest = text.rpartition(END_THINK)[2]
    if THINK in rest:
        return None
    found = ANSWER.findall(rest) or WORD.findall(rest)
    return found[-1] if found else None


def verifiable_reward(completions: list[list[Message]] | list[str], answer: list[str], **kwargs: Any) -> list[float]:
    """+1 for each completion that commits to the right answer, -1 for any other; TRL's reward-function signature.

    Args:
        completions: Conversations (the last message is read) or plain strings, thoughts included.
        answer: The right answer to each.
        **kwargs: The other columns that TRL passes, not needed here.

    Returns:
        One reward a completion.
    """
    texts = [c if isinstance(c, str) else c[-1]["content"] for c in completions]
    return [1.0 if extract_answer(t) == a else -1.0 for t, a in zip(texts, answer, strict=True)]
