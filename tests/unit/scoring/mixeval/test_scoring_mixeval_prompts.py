"""MixEval's items and prompts, of the evaluated model and of the judge."""

import json
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from bai_sweep.records import UserError
from bai_sweep.scoring.mixeval import _judge_prompts, judge_messages, prompt, question_of

CHOICE: dict[str, Any] = {
    "id": "7",
    "problem_type": "multiple-choice",
    "context": "A fox runs.",
    "prompt": "Which?",
    "options": ["red", "blue"],
    "target": [1],
    "benchmark_name": "PIQA",
}
FREE_FORM: dict[str, Any] = {
    "id": "7",
    "problem_type": "free-form",
    "context": None,
    "prompt": "How {many}?",
    "target": ["2", "two"],
    "benchmark_name": "DROP",
}
# of the official instructions, from which the files here must not drift by as much as a space at a line's end
QUOTED = {
    "judge_free_form.txt": "7a77bcf1d3c2fc1580068b0e875e28ce25c0b7a9b698ec3a9d4eca293d47f4dd",
    "judge_multiple_choice.txt": "46897e891a07a1f6c304079a2aa7ee605551b832e19f147d9ffe2ce7b84dfad4",
}


def test_an_item_says_what_is_right_in_words_of_its_half() -> None:
    choice, free_form = question_of(CHOICE), question_of(FREE_FORM)
    assert (choice.id, choice.targets) == ("multiple-choice/7", ("B",))
    assert (free_form.id, free_form.targets, free_form.options) == ("free-form/7", ("2", "two"), ())


@pytest.mark.parametrize("target", [[], [0, 1], [2], [-1]])
def test_a_choice_has_one_right_option(target: list[int]) -> None:
    with pytest.raises(UserError, match=r"one target, the index of an option; item 7 has .* for 2 options"):
        question_of({**CHOICE, "target": target})


def test_the_prompts_by_hand() -> None:
    assert prompt(question_of(CHOICE)) == (
        "A fox runs.\nWhich?\nA. red\nB. blue\nAnswer with the option letter from the given choices directly."
    )
    assert prompt(question_of(FREE_FORM)) == "Question: How {many}?\nAnswer the question shortly."
    assert prompt(question_of({**FREE_FORM, "context": "Here."})).startswith("Question: Here.\nHow {many}?\n")


@pytest.mark.parametrize("benchmark", ["BBH", "GSM8k", "MATH"])
def test_sums_are_reasoned_out(benchmark: str) -> None:
    asked = prompt(question_of({**FREE_FORM, "benchmark_name": benchmark}))
    assert asked.endswith("?\nAnswer the question. \nLet's think step by step.")


@pytest.mark.parametrize("context", [None, "None", "null", "NULL", "", "   "])
def test_no_context_is_no_line(context: str | None) -> None:
    assert prompt(question_of({**CHOICE, "context": context})).startswith("Which?\nA. red\n")


def test_the_judge_is_asked_in_the_official_words() -> None:
    system, user = judge_messages(question_of(FREE_FORM), "It is {2}.")
    assert system == {"role": "system", "content": "In this task, I want you to act as a judge."}
    assert user["content"].endswith(
        "\n\nQuestion: How {many}?\nGolden Answer(s): <answer 1> 2; <answer 2> two\n"
        "Model's Answer: It is {2}.\nYour Judgment: \n"
    )
    system, user = judge_messages(question_of(CHOICE), "blue")
    assert system == {"role": "system", "content": "In this task, I want you to act as an option extractor."}
    assert user["content"].endswith(
        "\n\nQuestion: Which?\nOptions: \nA. red\nB. blue\nModel's Answer: blue\nYour Judgment: \n"
    )
    assert "A fox runs" not in user["content"]


@pytest.mark.parametrize("name", QUOTED)
def test_the_judges_instruction_is_the_official_one(name: str) -> None:
    assert sha256(_judge_prompts._text(name).encode()).hexdigest() == QUOTED[name]


@pytest.mark.parametrize("half", ["freeform", "multichoice"])
def test_the_recorded_prompts_are_ours(shared_data: Callable[[str], Path], half: str) -> None:
    path = shared_data(f"mixeval_hard/responses/gemma_11_7b_instruct_close_{half}_hard.jsonl")
    with path.open(encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
    assert len(rows) == 500
    assert [prompt(question_of(row)) for row in rows] == [row["formated_input"] for row in rows]
