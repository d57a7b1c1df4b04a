"""SuperGPQA: which option a response names, and the report's figures; the rules are those of the official eval.py."""

import json
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bai_sweep.scoring import Item, weighted_mean
from bai_sweep.scoring.supergpqa import (
    accuracy_within,
    extract,
    macro_accuracy,
    prompt,
    score,
    share_unanswered,
    subfield_of,
)

OPTIONS = ["red", "-3", "3", "$x^2$", r"\text{blue}", "blue"]
ROW: dict[str, Any] = {
    "options": OPTIONS,
    "answer_letter": "C",
    "discipline": "Science",
    "field": "Physics",
    "subfield": "Acoustics",
    "difficulty": "hard",
}


def test_the_prompt_is_the_official_one_to_its_last_line_end() -> None:
    assert prompt("How many?", ["one", "two"]) == (
        "Answer the following multiple choice question. There is only one correct answer. The last line of your "
        "response should be in the format 'Answer: $LETTER' (without quotes), where LETTER is one of A, B, C, D, E, "
        "F, G, H, I, or J.\n\nHow many?\nA) one\nB) two\n"
    )


@pytest.mark.parametrize(
    ("response", "letter"),
    [
        ("The final answer to this question is: A.", None),  # one word at most stands before "answer"
        ("The final answer is: A.", "A"),
        (r"The best option is $\boxed{B}:", "B"),
        ("the correct answer is (C).", "C"),
        (r"The answer is \[\boxed{\text{D}}\]", "D"),
        ("The answer\nis\n\n**E**", "E"),
        ("Answer: J", "J"),
        ("**ANSWER**: **F**", "F"),
        (r"answer : $\mathbf{G}$.", "G"),
        ("Answer: Apple", None),
        ("Answer: K", None),
        ("Answer: B, surely", None),  # a comma does not end an option
        ("thus the option i", None),
        ("H", "H"),
        ("[I]:", "I"),
        (r"$\boxed{B}$", "B"),
        ("", None),
    ],
)
def test_a_letter_is_found(response: str, letter: str | None) -> None:
    assert extract(response, OPTIONS) == letter


@pytest.mark.parametrize(
    ("response", "letter"),
    [
        ("The answer is A.\nAnswer: B", "B"),  # the last line comes first,
        ("Answer: A\nThe answer is B", "B"),
        ("Answer: A\nB", "B"),
        ("Answer: A, because\nthe answer is C.\nI am sure.", "I"),  # and there every rule before the whole text
        ("Answer: A\nThe answer is B.\nSurely so.", "B"),  # "the answer is" before "Answer:"
        ("C is a guess.\nOr D.\nWho knows", "C"),  # how the whole begins, last
        ("Answer: A\nB\n\n", "B"),  # empty lines at the end do not count
    ],
)
def test_the_order_of_the_rules(response: str, letter: str) -> None:
    assert extract(response, OPTIONS) == letter


def test_a_lowercase_letter_is_an_answer_and_wrong() -> None:
    assert extract("Answer: c", OPTIONS) == "c"
    assert score(ROW, "Answer: c").value == 0.0
    assert score(ROW, "Answer: c").detail["extracted"] == "c"
    assert score(ROW, "Answer: C").value == 1.0


@pytest.mark.parametrize("text", ["A proof follows.", "I do not know."])
def test_a_text_that_begins_with_a_one_letter_word_answers_with_it(text: str) -> None:
    assert extract(text, OPTIONS) == text[0]


@pytest.mark.parametrize(
    ("response", "letter"),
    [
        ("The answer is red.", "A"),
        ("the right option is: $$x^2$$", "D"),
        ("Answer **red**", "A"),  # no colon is asked for
        (r"The answer is \text{blue}", "F"),  # the macro is taken for dress first
        (r"The answer is \(\text{blue}\)", "F"),
        ("Answer -3", "B"),  # least dress first: no hyphen is dress
        ("-3", "C"),  # a beginning that is no word is taken off, the hyphen too
        ("red", "A"),
        ("Red", None),  # here case counts
        ("The answer is reddish", None),
        ("it is red", None),
    ],
)
def test_without_a_letter_an_option_is_found_by_its_text(response: str, letter: str | None) -> None:
    assert extract(response, OPTIONS) == letter


def test_signs_in_an_option_mean_themselves() -> None:
    assert extract("The answer is x.z", ["xyz", "x.z"]) == "B"
    assert extract("The answer is xyz", ["x.z", "no"]) is None


def test_of_two_equal_options_the_first_is_named() -> None:
    assert extract("The answer is red", ["blue", "red", "red"]) == "B"


@given(st.sampled_from("ABCDEFGHIJ"), st.text("*$([{", max_size=6), st.text("Why? \n", max_size=20))
def test_an_answer_as_asked_for_is_always_found(letter: str, dress: str, before: str) -> None:
    assert extract(f"{before}\nAnswer:{dress}{letter}", OPTIONS) == letter


@pytest.mark.parametrize("run", ["*", "$", r"\boxed{", "The answer is $", "a ", "-", "\n("])
def test_a_response_of_one_repeated_text_is_read_in_no_time(run: str) -> None:
    """The official expressions take time exponential in the length of the first two."""
    start = time.perf_counter()
    extract(f"The answer is {run * 4000}!", OPTIONS)
    assert time.perf_counter() - start < 5.0


def test_figures_over_groups_by_hand() -> None:
    def item(value: float, subfield: str, difficulty: str, extracted: str | None = "A") -> Item:
        row = {**ROW, "subfield": subfield, "difficulty": difficulty}
        groups = {"discipline": "Science", "field": "Science/Physics", "subfield": subfield_of(row)}
        return Item(value, detail={**groups, "difficulty": difficulty, "extracted": extracted})

    items = [item(1, "Optics", "easy"), item(1, "Optics", "hard"), item(1, "Optics", "hard")]
    items.append(item(0, "Acoustics", "hard", None))
    assert weighted_mean(items) == 0.75
    assert macro_accuracy("field")(items) == 0.75
    assert macro_accuracy("subfield")(items) == 0.5
    assert accuracy_within("difficulty", "hard")(items) == pytest.approx(2 / 3)
    assert math.isnan(accuracy_within("difficulty", "middle")(items))
    assert share_unanswered(items) == 0.25


def test_a_score_carries_its_groups_with_what_they_lie_in() -> None:
    assert score(ROW, "No idea.").detail == {
        "extracted": None,
        "discipline": "Science",
        "field": "Science/Physics",
        "subfield": "Science/Physics/Acoustics",
        "difficulty": "hard",
    }


def test_always_a_on_the_real_sample(shared_data: Callable[[str], Path]) -> None:
    with shared_data("supergpqa/supergpqa_sample600.jsonl").open(encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
    assert weighted_mean(score(row, "Answer: A") for row in rows) == pytest.approx(43 / 600)
    assert weighted_mean(score(row, f"So,\nanswer: **{row['answer_letter']}**.") for row in rows) == 1.0
