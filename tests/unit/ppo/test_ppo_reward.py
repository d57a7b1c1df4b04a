"""Rewards: what functions and models are given, how they are summed, and what is refused."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
import torch
from transformers import LlamaForSequenceClassification, PreTrainedTokenizerFast

from bai_sweep.ppo._prompts import PromptBatch
from bai_sweep.ppo._reward import Rewards, Scored, completion_texts
from bai_sweep.records import UserError
from tests.unit.ppo import rewards as functions

Make = Callable[..., Any]
CPU = torch.device("cpu")
TEXTS = ["a b", "<think> c </think> a", "b"]
IDS = [[8, 9, 1], [4, 10, 5, 8, 1], [9]]
TEXT_BATCH = PromptBatch(["c", "d", "e"], [[10], [11], [12]], {"answer": [1, 2, 3]})
CHAT_BATCH = PromptBatch([[{"role": "user", "content": w}] for w in "cde"], [[10], [11], [12]], {"answer": [1, 2, 3]})


def score(make_reward: Make, batch: PromptBatch = TEXT_BATCH, **given: Any) -> Scored:
    """Scores three completions with functions given as name=(source, weight)."""
    entries = {
        name: {"model" if "/" in source else "function": source, "weight": weight}
        for name, (source, weight) in given.items()
    }
    return Rewards(make_reward(functions=entries), CPU).score(batch, TEXTS, IDS, step=4)


def ours(name: str, weight: float = 1.0) -> tuple[str, float]:
    return f"tests.unit.ppo.rewards:{name}", weight


def test_functions_get_what_trl_gives(make_reward: Make) -> None:
    functions.calls.clear()
    score(make_reward, TEXT_BATCH, text=ours("recording"))
    score(make_reward, CHAT_BATCH, chat=ours("recording"))
    text, chat = functions.calls
    assert text == {"prompts": ["c", "d", "e"], "completions": TEXTS, "completion_ids": IDS, "answer": [1, 2, 3]}
    assert chat["prompts"] == CHAT_BATCH.prompts
    assert chat["completions"] == [[{"role": "assistant", "content": t}] for t in TEXTS]


def test_weighted_sum_and_means(make_reward: Make) -> None:
    got = score(make_reward, share=ours("share_of_a", 3.0), two=ours("slow_two", -0.5), odd=ours("odd_ones", 10.0))
    assert got.total == pytest.approx([1.5 - 1, 0.75 - 1 + 10, 0 - 1], abs=1e-6)
    assert got.means == pytest.approx({"share": 0.25, "two": 2.0, "odd": 1.0}, abs=1e-6)


def test_async_functions_inside_a_running_loop(make_reward: Make) -> None:
    async def notebook() -> Scored:
        return score(make_reward, two=ours("slow_two"))

    assert asyncio.run(notebook()).total == (2.0, 2.0, 2.0)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("one_short", "'bad' returns a list of 3 rewards; step 4: it returned 2 values"),
        ("not_a_number", "'bad' returns finite rewards; step 4, completion 2: nan"),
        ("words", "'bad' returns numbers or None; step 4"),
        ("nothing", "each completion gets a reward; step 4"),
    ],
)
def test_bad_rewards_are_named(make_reward: Make, name: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        score(make_reward, bad=ours(name))


@pytest.mark.parametrize("name", ["tests.unit.ppo.rewards:missing", "no_such_module:f"])
def test_unknown_functions(make_reward: Make, name: str) -> None:
    with pytest.raises(UserError, match=f"importable as 'package.module:name'; '{name}'"):
        score(make_reward, f=(name, 1.0))


@pytest.mark.parametrize("batch", [TEXT_BATCH, CHAT_BATCH])
def test_a_reward_model_reads_prompt_and_completion(
    make_reward: Make, reward_model: str, tokenizer: PreTrainedTokenizerFast, batch: PromptBatch
) -> None:
    got = score(make_reward, batch, model=(reward_model, 2.0)).total
    theirs = LlamaForSequenceClassification.from_pretrained(reward_model).eval()
    for prompt, text, value in zip(batch.prompts, TEXTS, got, strict=True):
        shown = (
            f"{prompt} {text} <eos>"
            if isinstance(prompt, str)
            else f"<|user|> {prompt[0]['content']} <|assistant|> {text} <eos>"
        )
        ids = tokenizer.convert_tokens_to_ids(shown.split())
        if isinstance(prompt, str):  # text is joined as it is, and this tokenizer splits at white space only
            ids = tokenizer(f"{prompt}{text}<eos>")["input_ids"]
        with torch.no_grad():
            assert value == pytest.approx(2 * theirs(torch.tensor([ids])).logits.item(), abs=1e-5)


def test_texts_keep_thoughts_and_drop_eos_and_padding(tokenizer: PreTrainedTokenizerFast) -> None:
    tokenizer.add_special_tokens({"additional_special_tokens": ["<think>", "</think>"]})
    assert completion_texts(tokenizer, [[4, 10, 5, 8, 1, 0]], {0, 1}) == ["<think> c </think> a"]
