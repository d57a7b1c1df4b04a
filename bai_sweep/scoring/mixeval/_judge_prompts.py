"""What the judge is asked. The texts beside this module are MixEval's, word for word: they are its protocol.

Psycoy/MixEval, mix_eval/prompts/judge_prompts.py and mix_eval/utils/judge_{freeform,multichoice}_parser.py.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

from bai_sweep.scoring.mixeval._question import Question, lettered


def judge_messages(question: Question, response: str) -> list[dict[str, str]]:
    """The conversation that the judge is to continue; it does not see the question's context.

    Args:
        question: The item.
        response: To be read, without its thought.
    """
    if question.half == "multiple-choice":
        role = "In this task, I want you to act as an option extractor."
        task = _text("judge_multiple_choice.txt").format(
            prompt=question.prompt, options=lettered(question.options), response=response
        )
    else:
        role = "In this task, I want you to act as a judge."
        golden = "; ".join(f"<answer {number}> {target}" for number, target in enumerate(question.targets, start=1))
        task = _text("judge_free_form.txt").format(prompt=question.prompt, gold_ans=golden, response=response)
    return [{"role": "system", "content": role}, {"role": "user", "content": task}]


@cache
def _text(name: str) -> str:
    """The quotation, without the lines that say whose it is."""
    return Path(__file__).with_name(name).read_text(encoding="utf-8").partition("\n\n")[2]
