"""How a judge is asked: orders, settings, the second request of v0.1, and what becomes of no verdict."""

from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from bai_sweep.judging import BudgetError, JudgeError, Reply, Spending
from bai_sweep.scoring import Item
from bai_sweep.scoring.arenahard import V01, V2, Protocol, judge_messages, play

GO_ON = {"role": "user", "content": "continue your judgment and finish by outputting a final verdict label"}


class Scripted:
    """A judge that says one thing after the other and keeps what it was asked."""

    name = "scripted"

    def __init__(self, *replies: str | Exception) -> None:
        self.replies = iter(replies)
        self.asked: list[dict[str, Any]] = []

    def ask(
        self,
        messages: Sequence[Mapping[str, str]],
        *,
        temperature: float = 0.7,
        max_tokens: int = 1,
        attempt: int = 0,
    ) -> Reply:
        self.asked.append(
            {"messages": messages, "temperature": temperature, "max_tokens": max_tokens, "attempt": attempt}
        )
        said = next(self.replies)
        if isinstance(said, Exception):
            raise said
        return Reply(text=said, prompt_tokens=1, completion_tokens=1, cached=False, model="scripted-1")

    def spent(self) -> Spending:
        return Spending(requests=len(self.asked))


def played(judge: Scripted, protocol: Protocol = V01, category: str = "arena-hard-v0.1") -> Item:
    return play(judge, protocol, category=category, question="Why?", answer="mine", baseline="theirs")


def test_the_baseline_is_a_in_game_1_and_b_in_game_2() -> None:
    judge = Scripted("[[B>>A]]", "hm [[A>B]]")
    item = played(judge)
    assert [asked["messages"] for asked in judge.asked] == [
        judge_messages("arena-hard-v0.1", "Why?", "theirs", "mine"),
        judge_messages("arena-hard-v0.1", "Why?", "mine", "theirs"),
    ]
    assert (item.value, item.weight) == (1.0, 4.0)
    assert item.detail == {
        "verdicts": ["B>>A", "A>B"],
        "judgments": [
            {"judge": "scripted-1", "attempts": 1, "ending": "\n[[B>>A]]"},
            {"judge": "scripted-1", "attempts": 1, "ending": "\nhm [[A>B]]"},
        ],
    }


@pytest.mark.parametrize(
    ("protocol", "category", "max_tokens"),
    [(V01, "arena-hard-v0.1", 4096), (V2, "hard_prompt", 16000), (V2, "creative_writing", 16000)],
)
def test_the_judges_settings_are_official(protocol: Protocol, category: str, max_tokens: int) -> None:
    judge = Scripted("[[A=B]]", "[[A=B]]")
    played(judge, protocol, category)
    assert {(asked["temperature"], asked["max_tokens"]) for asked in judge.asked} == {(0.0, max_tokens)}
    assert judge.asked[0]["messages"] == judge_messages(category, "Why?", "theirs", "mine")


def test_v01_asks_once_more_for_a_verdict_and_reads_both_texts() -> None:
    judge = Scripted("I begin.", "[[A>B]]", "[[A=B]]")
    item = played(judge)
    first = judge_messages("arena-hard-v0.1", "Why?", "theirs", "mine")
    assert judge.asked[1]["messages"] == [*first, {"role": "assistant", "content": "I begin."}, GO_ON]
    assert [asked["attempt"] for asked in judge.asked] == [0, 1, 0]
    assert item.detail["verdicts"] == ["A>B", "A=B"]
    assert item.detail["judgments"][0] == {"judge": "scripted-1", "attempts": 2, "ending": "\nI begin.\n[[A>B]]"}


def test_v01_gives_up_after_the_second_text_and_keeps_the_other_game() -> None:
    item = played(Scripted("I begin.", "I go on.", "[[A>>B]]"))
    assert item.detail["verdicts"] == [None, "A>>B"]
    assert (item.value, item.weight) == (1.0, 3.0)


def test_v01_does_not_ask_again_after_marks_that_differ() -> None:
    judge = Scripted("[[A>B]] or [[B>A]]", "[[A=B]]")
    assert played(judge).detail["verdicts"] == [None, "A=B"]
    assert len(judge.asked) == 2


def test_v2_asks_once_and_drops_the_question() -> None:
    judge = Scripted("I begin.", "[[A>>B]]")
    item = played(judge, V2, "hard_prompt")
    assert len(judge.asked) == 2
    assert item.detail["verdicts"] == [None, "A>>B"]
    assert item.weight == 0.0


def test_v2_keeps_the_style_of_both_answers() -> None:
    judge = Scripted("[[A=B]]", "[[A=B]]")
    item = play(judge, V2, category="hard_prompt", question="Why?", answer="# So\n- **a**", baseline="theirs")
    assert item.detail["style"]["model"] | {"tokens": 0} == {"tokens": 0, "headers": 1, "lists": 1, "bolds": 1}
    assert item.detail["style"]["baseline"] | {"tokens": 0} == {"tokens": 0, "headers": 0, "lists": 0, "bolds": 0}
    assert item.detail["style"]["counter"] in {"o200k_base", "approximate"}


def test_a_judge_that_fails_gives_no_verdict() -> None:
    item = played(Scripted(JudgeError("too long"), "[[A>B]]"))
    assert item.detail["verdicts"] == [None, "A>B"]
    assert item.detail["judgments"][0] == {"judge": "scripted", "attempts": 1, "error": "too long"}


def test_a_spent_budget_ends_the_benchmark() -> None:
    with pytest.raises(BudgetError, match="cap"):
        played(Scripted(BudgetError("the cap is reached")))
