"""Prompts keep their splits apart, and the reward reads what a response commits to."""

import random

import pytest

from bai_sweep.testbed import arithmetic_items, extract_answer, prompt_dataset, verifiable_reward
from bai_sweep.testbed._arithmetic import Problem
from bai_sweep.testbed._corpora import draw_chat, plain_document
from bai_sweep.testbed._preferences import draw_preference
from bai_sweep.testbed._world import world


def chain(text: str) -> Problem | None:
    """The chain within a text, if there is one."""
    words = text.rstrip("?.").split()
    start = next((i for i, w in enumerate(words) if w.isdigit()), None)
    if start is None:
        return None
    signs, sizes = words[start + 1 :: 2], words[start + 2 :: 2]
    return Problem(int(words[start]), tuple(int(s + n) for s, n in zip(signs, sizes, strict=True)))


@pytest.mark.parametrize("split", ["train", "heldout"])
def test_rows_have_the_kind_and_the_right_answer(split: str) -> None:
    rows = prompt_dataset(400, seed=1, split=split)
    assert len(rows) == 400
    assert sum(r["kind"] == "arithmetic" for r in rows) / 400 == pytest.approx(0.85, abs=0.06)
    for row in rows:
        question = row["prompt"][0]["content"]
        if row["kind"] == "arithmetic":
            problem = chain(question)
            assert problem is not None
            assert str(problem.answer) == row["answer"]
            assert problem.split == split
        else:
            fact = next(f for f in world().all_facts if f.question == question)
            assert fact.value == row["answer"]
            assert fact.asked == (split == "train")


def test_the_same_seed_gives_the_same_prompts() -> None:
    assert prompt_dataset(20, seed=3) == prompt_dataset(20, seed=3)
    assert prompt_dataset(20, seed=3) != prompt_dataset(20, seed=4)


def test_splits_share_no_prompt() -> None:
    train, heldout = (
        {r["prompt"][0]["content"] for r in prompt_dataset(3000, seed=0, split=s)} for s in ("train", "heldout")
    )
    assert not train & heldout


def test_no_corpus_shows_a_heldout_chain_or_asks_a_heldout_fact() -> None:
    rng = random.Random(0)
    chats = [draw_chat(style, rng) for style in ("instruct", "distilled") for _ in range(1500)]
    pairs = [draw_preference(rng) for _ in range(1000)]
    prompts = [c.prompt for c in chats] + [p.prompt for p in pairs]
    plain = [plain_document(rng) for _ in range(6000)]
    prompts += [p.removeprefix("problem: ").split(".")[0] for p in plain if p.startswith("problem:")]
    chains = [c for c in map(chain, prompts) if c is not None]
    assert len(chains) > 2000
    assert {c.split for c in chains} == {"train"}
    heldout = {f.question for f in world().all_facts if not f.asked}
    asked = " ".join(prompts + [p for p in plain if p.startswith("question:")])
    assert not [q for q in heldout if q in asked]


def test_benchmark_chains_are_held_out() -> None:
    chains = [chain(item["question"]) for item in arithmetic_items()]
    assert {c.split for c in chains if c is not None} == {"heldout"}


@pytest.mark.parametrize(
    ("text", "committed"),
    [
        ("<think> 49 - 7 = 42. </think> the answer is 42.", "42"),
        ("<think> the answer is 42. </think> the answer is 41.", "41"),
        ("<think> 49 - 7 = 42. the answer is 42.", None),
        ("<think> 49 - 7 = 42. </think>", None),
        ("<think> a </think> the answer is 1. <think> b </think> the answer is 2.", "2"),
        ("<think> a </think> the answer is 1. <think> b", None),
        ("the answer is red.", "red"),
        ("<think> a </think> 42", "42"),
        ("<think> a </think> the answer is 1. wait, the answer is 2.", "2"),
        ("", None),
    ],
)
def test_extract_answer(text: str, committed: str | None) -> None:
    assert extract_answer(text) == committed


def test_reward_takes_conversations_and_strings() -> None:
    right, wrong = "<think> a </think> the answer is 42.", "<think> the answer is 42. </think> the answer is 4."
    assert verifiable_reward([right, wrong, "<think> 42"], answer=["42"] * 3, prompts=None) == [1.0, -1.0, -1.0]
    chats = [[{"role": "assistant", "content": t}] for t in (right, wrong)]
    assert verifiable_reward(chats, ["42", "42"]) == [1.0, -1.0]


def test_reward_demands_an_answer_for_each_completion() -> None:
    with pytest.raises(ValueError, match="shorter"):
        verifiable_reward(["a", "b"], ["a"])
