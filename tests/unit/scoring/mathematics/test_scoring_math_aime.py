r"""Whole numbers from responses, and what k responses score."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bai_sweep.records import UserError
from bai_sweep.scoring.mathematics import aime_answer, majority_share, score_aime

READ = {
    r"\boxed{204}": 204,
    r"\boxed{025}": 25,
    r"\boxed{0}": 0,
    r"\boxed{000}": 0,
    r"\boxed{999}": 999,
    r"\boxed{\text{204}}": 204,
    r"\boxed{\mathbf{204}}": 204,
    r"\boxed{204.}": 204,
    r"\boxed{204.0}": 204,
    r"\boxed{$204$}": 204,
    r"\boxed{204^\circ}": 204,
    r"\boxed{204 \text{ minutes}}": 204,
    r"\boxed{m+n=204}": 204,
    r"\boxed{m+n = 200 + 4 = 204}": 204,
    r"\boxed{\frac{408}{2}}": 204,
    "$\\boxed 204$": 204,
    "The answer is 204.": 204,
    "the answer is $204$": 204,
    "Answer: m+n=204": 204,
    r"first \boxed{113}, then \boxed{204}.": 204,
    r"\boxed{24}": 24,
    r"\boxed{2040}": None,
    r"\boxed{1000}": None,
    r"\boxed{-1}": None,
    r"\boxed{204.5}": None,
    r"\boxed{204 or 205}": None,
    r"\boxed{204, 205}": None,
    r"\boxed{204 \text{ or } 205}": None,
    r"\boxed{2x = 204}": None,
    r"\boxed{204x}": None,
    r"\boxed{two hundred and four}": None,
    r"\boxed{204": None,
    r"\boxed{}": None,
    "204": None,
    "I computed $204$ here": None,
    "": None,
    r"\boxed{" + "9" * 5000 + "}": None,
}


@pytest.mark.parametrize(("text", "number"), READ.items(), ids=lambda value: str(value)[:30])
def test_the_whole_number_a_response_gives(text: str, number: int | None) -> None:
    assert aime_answer(text) == number


@settings(deadline=None)
@given(st.integers(0, 999))
def test_every_answer_is_read_with_and_without_zeros(number: int) -> None:
    assert aime_answer(rf"\boxed{{{number}}}") == aime_answer(f"The final answer is {number:03d}.") == number


def test_k_responses_give_their_mean_their_majority_and_the_best() -> None:
    responses = [r"\boxed{25}", r"\boxed{025}", r"\boxed{24}", "no idea"]
    scored = score_aime(responses, "025")
    assert {metric: item.value for metric, item in scored.items()} == {
        "exact_match": 0.5,
        "maj_at_k": 1.0,
        "pass_at_k": 1.0,
        "no_answer": 0.25,
    }
    assert scored["exact_match"].detail == {"extracted": [25, 25, 24, None], "given": ["25", "025", "24", None]}


@pytest.mark.parametrize(
    ("votes", "share"),
    [
        ([5, 5, 6], 1.0),
        ([6, 6, 5], 0.0),
        ([5, 6], 0.5),
        ([5, 6, 7, 7, 6, 5], 1 / 3),
        ([None, None, 5], 1.0),
        ([None, None], 0.0),
        ([6], 0.0),
    ],
)
def test_ties_count_by_their_share(votes: list[int | None], share: float) -> None:
    assert majority_share(votes, 5) == pytest.approx(share, abs=1e-12)


@pytest.mark.parametrize("reference", ["1000", "x", "2.5", ""])
def test_a_reference_that_is_no_answer_of_the_aime_is_refused(reference: str) -> None:
    with pytest.raises(UserError, match=f"a whole number from 0 to 999; got {reference!r}"):
        score_aime([r"\boxed{5}"], reference)
