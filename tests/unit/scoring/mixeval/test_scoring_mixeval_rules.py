"""MixEval's rule-based parser: what it reads, with its quirks, and the responses that its authors recorded."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bai_sweep.scoring import weighted_mean
from bai_sweep.scoring.mixeval import Question, accuracy_of, question_of, score_by_rules, share_unparsed
from bai_sweep.scoring.mixeval._rules import answers_in

OPTIONS = ("a red fox", "a blue fox", "fox")


def choice(response: str) -> Any:
    question = Question("multiple-choice/0", "multiple-choice", "ARC", "", "Which?", OPTIONS, ("B",))
    return score_by_rules(question, response)


def free_form(response: str, *targets: str) -> float:
    return score_by_rules(Question("free-form/0", "free-form", "DROP", "", "How?", (), targets), response).value


@pytest.mark.parametrize(
    ("response", "letter"),
    [
        ("B", "B"),
        ("B.", "B"),
        ("Answer: B", "B"),
        ("I choose (C).", "C"),
        ("**A** it is", None),  # bold on both sides is no official form,
        ("**A it is", "A"),  # on one side it is
        ("It is **A. a red fox**", "A"),
        ("It is C.** ", "C"),
        ("first\nB\nthen A", "B"),
        ("B) a blue fox", None),  # five words at most: the texts are not looked at
        ("A dog, so C", "A"),  # the first, though it is a word
        ("take the one: a blue fox", "B"),  # six words
        ("that one: a blue fox", None),
        ("b", None),
        ("D is right", None),  # there are three options
        ("Well, it must be A Blue Fox or a red fox", "A"),  # letters before texts
        ("Well, it must be the (a blue fox) or a red fox", "B"),
        ("Well, I take it to be foxy", "C"),
        ("", None),
    ],
)
def test_the_option_that_stands_first(response: str, letter: str | None) -> None:
    item = choice(response)
    assert item.detail["extracted"] == letter
    assert item.detail["parsed"] == (letter is not None)
    assert item.value == (letter == "B")


@pytest.mark.parametrize(
    ("response", "parts"),
    [
        ("Paris.", ["paris"]),
        ("The capital is Paris.", ["paris"]),
        ("It is so that the answer is 5", ["5", "5"]),  # the shortest text after a cue
        ("First x = 3\nthen y = -.5", ["-.5", "-.5"]),  # "=" is a cue on the last line
        ("The final answer is:\n12", ["is:"]),  # a line without a cue is not looked at where another has one
        ("Thus it was Rome. So it is Oslo", ["oslo"]),  # sentences are not split
        ("x is 1,234.5 or 2e3", ["1,234.5 or 2e3", "1,234", "2e3", "234.5", "3"]),
        ("it is so ", ["so"]),
        ("The result is ,", ["the result is ,"]),  # a mark alone is no answer
        ("", [""]),
    ],
)
def test_the_parts_that_may_be_an_answer(response: str, parts: list[str]) -> None:
    assert answers_in(response) == parts


@pytest.mark.parametrize(
    ("response", "targets", "value"),
    [
        ("It is 1,000 metres", ["1000"], 1.0),
        ("It is 0.333", ["0.33"], 1.0),  # two decimals
        ("It is 100", ["10"], 0.0),
        ("It is PARIS, France", ["Paris"], 1.0),  # a text anywhere in a part
        ("It is Paris", ["Paris, France", "paris"], 1.0),  # any of the targets
        ("It is Paris", ["Rome"], 0.0),
        ("It is about", ["b"], 0.0),  # one character is found only as a word
        ("It is plan b here", ["B"], 1.0),
        ("b", ["B"], 1.0),
        ("", ["x"], 0.0),
    ],
)
def test_a_free_form_answer_is_right(response: str, targets: list[str], value: float) -> None:
    assert free_form(response, *targets) == value


@given(st.integers(-(10**9), 10**9))
def test_a_number_is_right_however_its_thousands_are_marked(number: int) -> None:
    assert free_form(f"The answer is {number:,}", str(number)) == 1.0
    assert free_form(f"The answer is {number}", f"{number:,}") == 1.0
    assert free_form(f"The answer is {number + 1}", f"{number}") == 0.0


def recorded(path: Path) -> tuple[list[dict[str, Any]], list[Question]]:
    with path.open(encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
    return rows, [question_of(row) for row in rows]


def test_the_recorded_responses_score_as_the_official_parser_scores_them(shared_data: Callable[[str], Path]) -> None:
    """Gemma 1.1 7B on 2024-06-01: right answers by the official code, its random choices counted as wrong."""
    items = []
    for half in ("freeform", "multichoice"):
        rows, questions = recorded(shared_data(f"mixeval_hard/responses/gemma_11_7b_instruct_close_{half}_hard.jsonl"))
        items += [score_by_rules(q, row["response"]) for q, row in zip(questions, rows, strict=True)]
    assert accuracy_of("free-form")(items) == pytest.approx(102 / 500)
    assert accuracy_of("multiple-choice")(items) == pytest.approx(166 / 500)
    assert share_unparsed(items) == pytest.approx(47 / 1000)
    assert weighted_mean(items) == pytest.approx(0.268)
    right = dict.fromkeys(("DROP", "TriviaQA", "MMLU", "HellaSwag", "CommonsenseQA"), 0.0)
    for item in items:
        if item.detail["benchmark"] in right:
            right[item.detail["benchmark"]] += item.value
    assert right == {"DROP": 58, "TriviaQA": 38, "MMLU": 80, "HellaSwag": 12, "CommonsenseQA": 18}
