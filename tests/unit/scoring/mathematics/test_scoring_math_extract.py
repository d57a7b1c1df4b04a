r"""Which part of a response is its answer: boxes first, then the phrases, and nothing else."""

import time

import pytest

from bai_sweep.scoring.mathematics import extract_answer, extract_boxed

BOXES = {
    r"\boxed{5}": "5",
    r"so $\boxed{\frac{1}{2}}$, as claimed.": r"\frac{1}{2}",
    r"first \boxed{1}, at last \boxed{2}.": "2",
    r"\fbox{5}": "5",
    r"\framebox{204}": "204",
    r"\boxed{1} but \fbox{2}": "2",
    r"\boxed {5}": "5",
    r"$\boxed 5$ and more": "5",
    r"$\boxed\frac12$": r"\frac12",
    "\\boxed 12\nand more": "12",
    r"\boxed{\{1, 2\}}": r"\{1, 2\}",
    r"\boxed{\left\{ x \right.}": r"\left\{ x \right.",
    r"\boxed{a \\}": r"a \\",
    r"\boxed{x^{2^{3}}} text {with} braces}": "x^{2^{3}}",
    r"\boxed{\boxed{7}}": "7",
    "\\boxed{\n 8 \n}": "8",
    r"\boxed{}": None,
    r"\boxed{5": None,
    r"\boxed{\frac{1}{2}": None,
    r"\boxed": None,
    r"\boxedsomething{5}": None,
    "5": None,
}


@pytest.mark.parametrize(("text", "inside"), BOXES.items())
def test_the_last_box_with_balanced_braces(text: str, inside: str | None) -> None:
    assert extract_boxed(text) == inside


PHRASES = {
    "The final answer is $5$. I hope it is correct.": "5",
    "The final answer is 5.5. It is.": "5.5",
    "Final Answer: 42": "42",
    "**Final Answer:** 42": "42",
    "**Answer**: $\\frac{1}{2}$ because ...": "\\frac{1}{2}",
    "The answer is therefore $x = 5$.": "x = 5",
    "the answer is: \\[\n\\frac12\n\\] which": "\\frac12",
    "The answer is \\(7\\).": "7",
    "The answers are $1$ and $-2$.": "$1$ and $-2$",
    "Answer: 3\nNext line 4": "3",
    "The answer is 1. No, the answer is 2.": "2",
    "The answer is 1. The final answer is 2. One answer is 3.": "2",
    "The answer is 11,\\! 111. Done": "11,\\! 111",
    "The answer is $\\$5$.": "\\$5",
    "The answer is": None,
    "I get 5": None,
    "$5$": None,
    "": None,
}


@pytest.mark.parametrize(("text", "answer"), PHRASES.items())
def test_without_a_box_the_last_phrase_counts(text: str, answer: str | None) -> None:
    assert extract_answer(text) == answer


def test_a_box_comes_before_any_phrase() -> None:
    assert extract_answer(r"\boxed{1}. The final answer is 2.") == "1"


def test_an_unfinished_box_is_no_answer_whatever_stands_before_it() -> None:
    assert extract_answer(r"The answer is 4, \boxed{4}, or rather \boxed{5") is None
    assert extract_answer(r"The final answer is 4: \boxed{}") is None


HOSTILE = [
    "\\boxed{" * 30_000,
    "\\boxed" + " " * 200_000 + "{" * 10,
    "\\boxed{" + "{" * 200_000,
    "answer" + " " * 200_000,
    "answer is " * 20_000,
    "answer is" + "*_: " * 50_000,
    "final answer: " + "\\(" * 50_000,
    "answer: " + "$" * 100_000,
]


@pytest.mark.parametrize("text", HOSTILE, ids=lambda text: text[:12])
def test_extraction_takes_time_linear_in_the_text(text: str) -> None:
    begun = time.process_time()
    extract_answer(text)
    assert time.process_time() - begun < 3.0
