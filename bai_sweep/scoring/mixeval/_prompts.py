"""What the evaluated model is asked: the protocol of Psycoy/MixEval, mix_eval/prompts/evaluation_prompts.py."""

from __future__ import annotations

from bai_sweep.scoring.mixeval._question import Question, lettered

_BY_LETTER = "Answer with the option letter from the given choices directly."
_SHORTLY = "Answer the question shortly."
_STEP_BY_STEP = "Answer the question. \nLet's think step by step."
_REASONED = {"BBH", "GSM8k", "MATH"}  # free-form items of these are answered step by step


def prompt(question: Question) -> str:
    """The user's message: context, question, options and the official instruction, a line each."""
    context = f"{question.context}\n" if question.context else ""
    if question.half == "multiple-choice":
        return f"{context}{question.prompt}\n{lettered(question.options)}\n{_BY_LETTER}"
    instruction = _STEP_BY_STEP if question.benchmark in _REASONED else _SHORTLY
    return f"Question: {context}{question.prompt}\n{instruction}"
