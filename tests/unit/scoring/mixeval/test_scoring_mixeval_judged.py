"""MixEval with a judge: what counts as its verdict, when it is asked again, and what becomes of no verdict."""

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from bai_sweep.judging import BudgetError, JudgeError, Reply, Spending
from bai_sweep.scoring.mixeval import Question, judge_messages, score_by_judge
from bai_sweep.scoring.mixeval._judged import verdict_in

CHOICE = Question("multiple-choice/7", "multiple-choice", "PIQA", "", "Which?", ("red", "blue"), ("B",))
FREE_FORM = Question("free-form/7", "free-form", "DROP", "", "How many?", (), ("2",))


class Scripted:
    """A judge that says what it is told to, the last again and again, and keeps what it was asked."""

    name = "scripted"

    def __init__(self, *replies: str | Exception) -> None:
        self.replies = replies
        self.asked: list[dict[str, Any]] = []

    def ask(
        self,
        messages: Sequence[Mapping[str, str]],
        *,
        temperature: float = 0.0,
        max_tokens: int = 4096,
        attempt: int = 0,
    ) -> Reply:
        self.asked.append({"messages": messages, "temperature": temperature, "attempt": attempt})
        said = self.replies[min(len(self.asked), len(self.replies)) - 1]
        if isinstance(said, Exception):
            raise said
        return Reply(text=said, prompt_tokens=1, completion_tokens=1, cached=False, model=self.name)

    def spent(self) -> Spending:
        return Spending(requests=len(self.asked))


@pytest.mark.parametrize(
    ("reply", "score"),
    [
        ("Near. The correctness score: [[0.7]].", 0.7),
        ("[[1]]", 1.0),
        ("[[0.]]", 0.0),
        ("[0.5]", 0.5),  # single brackets where there are no double ones
        ("see [1]; score: [[0.3]]", 0.3),
        ("[[0.2]] or rather [[0.9]]", 0.2),  # the first
        ("[[1.1]]", None),
        ("[[-0.5]]", None),
        ("[[A]]", None),
        ("0.5", None),
        ("", None),
    ],
)
def test_the_verdict_on_a_free_form_answer(reply: str, score: float | None) -> None:
    assert verdict_in(reply, "free-form") == score


@pytest.mark.parametrize(
    ("reply", "letter"),
    [
        ("The option chosen by the model: [[B]].", "B"),
        ("[C]", "C"),
        ("[A], no: [[B]]", "B"),
        ("[[b]]", None),
        ("[[AB]]", None),
        ("[[1]]", None),
        ("B", None),
    ],
)
def test_the_option_that_the_judge_reads(reply: str, letter: str | None) -> None:
    assert verdict_in(reply, "multiple-choice") == letter


def test_a_free_form_item_scores_the_verdict() -> None:
    judge = Scripted("So: [[0.4]]")
    item = score_by_judge(FREE_FORM, "about 2", judge)
    assert item.value == 0.4
    assert item.detail == {
        "half": "free-form",
        "benchmark": "DROP",
        "judge": "scripted",
        "verdict": 0.4,
        "parsed": True,
        "said": "So: [[0.4]]",
    }
    assert judge.asked == [{"messages": judge_messages(FREE_FORM, "about 2"), "temperature": 1.0, "attempt": 0}]


@pytest.mark.parametrize(("letter", "value"), [("B", 1.0), ("A", 0.0), ("Z", 0.0)])
def test_a_choice_scores_whether_the_option_read_is_right(letter: str, value: float) -> None:
    item = score_by_judge(CHOICE, "blue", Scripted(f"[[{letter}]]"))
    assert item.value == value
    assert item.detail["parsed"] is True


def test_a_reply_without_a_verdict_is_asked_for_again_as_a_new_request() -> None:
    judge = Scripted("Hm.", "[[7]]", "[[0.5]]")
    assert score_by_judge(FREE_FORM, "2", judge).value == 0.5
    assert [asked["attempt"] for asked in judge.asked] == [0, 1, 2]


def test_after_ten_replies_without_a_verdict_the_item_is_wrong_and_says_so(caplog: pytest.LogCaptureFixture) -> None:
    judge = Scripted("I cannot tell.")
    with caplog.at_level(logging.WARNING):
        item = score_by_judge(CHOICE, "", judge)
    assert [asked["attempt"] for asked in judge.asked] == list(range(10))
    assert (item.value, item.weight, item.detail["parsed"]) == (0.0, 1.0, False)
    assert item.detail["said"] == "I cannot tell."
    assert "multiple-choice/7 counts as wrong" in caplog.text


def test_a_judge_that_cannot_be_asked_is_not_asked_again(caplog: pytest.LogCaptureFixture) -> None:
    judge = Scripted("Hm.", JudgeError("the endpoint refused the request"))
    item = score_by_judge(FREE_FORM, "2", judge)
    assert len(judge.asked) == 2
    assert (item.value, item.detail["parsed"]) == (0.0, False)
    assert item.detail["said"] == "JudgeError: the endpoint refused the request"
    assert "the endpoint refused the request" in caplog.text


def test_a_spent_budget_ends_the_benchmark() -> None:
    with pytest.raises(BudgetError, match="spent"):
        score_by_judge(FREE_FORM, "2", Scripted(BudgetError("spent")))
