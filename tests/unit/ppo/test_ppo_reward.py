"""Rewards: what functions and models are given, how they are summed, and what is refused."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
import torch
from tokenizers import Regex, Tokenizer, models, pre_tokenizers
from transformers import LlamaForSequenceClassification, PreTrainedTokenizerFast

from bai_sweep.ppo._prompts import PromptBatch
from bai_sweep.ppo._reward import ModelReward, Rewards, Scored, completion_texts
from bai_sweep.records import UserError
from tests.unit.ppo import rewards as functions

Make = Callable[..., Any]
CPU = torch.device("cpu")
TEXTS = ["a b", "<think> c </think> a", "b"]
IDS = [[8, 9, 1], [4, 10, 5, 8, 1], [9]]
ENDED = [True, True, False]
TEXT_BATCH = PromptBatch(["c", "d", "e"], [[10], [11], [12]], {"answer": [1, 2, 3]})
CHAT_BATCH = PromptBatch([[{"role": "user", "content": w}] for w in "cde"], [[10], [11], [12]], {"answer": [1, 2, 3]})


def score(make_reward: Make, batch: PromptBatch = TEXT_BATCH, **given: Any) -> Scored:
    """Scores three completions with functions given as name=(source, weight)."""
    entries = {
        name: {"model" if "/" in source else "function": source, "weight": weight}
        for name, (source, weight) in given.items()
    }
    return Rewards(make_reward(functions=entries), CPU).score(batch, TEXTS, IDS, ENDED, step=4)


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
    ],
)
def test_bad_rewards_are_named(make_reward: Make, name: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        score(make_reward, bad=ours(name))


def test_completions_that_no_function_applies_to_score_zero(
    make_reward: Make, caplog: pytest.LogCaptureFixture
) -> None:
    got = score(make_reward, odd=ours("odd_ones", 5.0), never=ours("nothing"))
    assert got.total == (0.0, 5.0, 0.0)
    assert got.means == {"odd": 1.0, "never": 0.0}
    assert caplog.messages == ["step 4: no reward function applies to 2 of 3 completions, which score 0"]
    caplog.clear()
    score(make_reward, odd=ours("odd_ones"), share=ours("share_of_a"))
    assert not caplog.messages


def test_trls_accuracy_reward(make_reward: Make) -> None:
    """conf/reward/math.yaml's: right, wrong, and a solution that cannot be parsed."""
    prompts = [[{"role": "user", "content": "?"}]] * 3
    batch = PromptBatch(prompts, [[10]] * 3, {"solution": [r"$\frac{1}{3}$", r"$\frac{1}{3}$", "no mathematics"]})
    texts = [r"\boxed{\frac{2}{6}}", r"\boxed{\frac{1}{2}}", r"\boxed{1}"]
    entries = {"accuracy": {"function": "trl.rewards:accuracy_reward", "weight": 2.0}}
    got = Rewards(make_reward(functions=entries), CPU).score(batch, texts, IDS, ENDED, step=1)
    assert got.total == (2.0, 0.0, 0.0)
    assert got.means == {"accuracy": 0.5}


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
    for prompt, text, ended, value in zip(batch.prompts, TEXTS, ENDED, got, strict=True):
        if isinstance(prompt, str):  # text is joined as it is, and this tokenizer splits at white space only
            ids = tokenizer(f"{prompt}{text}" + "<eos>" * ended)["input_ids"]
        else:
            shown = f"<|user|> {prompt[0]['content']} <|assistant|> {text}" + " <eos>" * ended
            ids = tokenizer.convert_tokens_to_ids(shown.split())
        with torch.no_grad():
            assert value == pytest.approx(2 * theirs(torch.tensor([ids])).logits.item(), abs=1e-5)


@pytest.mark.parametrize(
    ("closing", "left"),
    [("<eos>", ""), ("<eos>\n \n", ""), ("<end>\n", "<end>\n")],
    ids=["EOS", "EOS and white-space", "no EOS"],
)
def test_a_truncated_conversation_is_shown_unfinished(reward_model: str, closing: str, left: str) -> None:
    """The EOS of earlier turns and the completion's own white-space stay."""
    characters = Tokenizer(models.WordLevel({c: i for i, c in enumerate(["<eos>", "<end>", *"ab \n"])}, "<end>"))
    characters.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated")
    reward = ModelReward(reward_model, CPU)
    reward.tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=characters,
        eos_token="<eos>",
        additional_special_tokens=["<end>"],
        chat_template="{% for m in messages %}{{ m['content'] + '" + closing.replace("\n", "\\n") + "' }}{% endfor %}",
    )
    prompt = [{"role": "user", "content": "a"}]
    for ended, end in ((True, closing), (False, left)):
        shown = reward.tokenizer.convert_ids_to_tokens(reward._encode(prompt, "b\n", ended))
        assert "".join(shown) == f"a{closing}b\n{end}"


def test_a_reward_tokenizer_without_eos_is_refused(
    make_reward: Make, reward_model: str, tokenizer: PreTrainedTokenizerFast
) -> None:
    tokenizer.eos_token = None
    tokenizer.save_pretrained(reward_model)
    with pytest.raises(UserError, match=f"the tokenizer of '{reward_model}' has no EOS token"):
        score(make_reward, model=(reward_model, 1.0))


def test_texts_keep_thoughts_and_drop_eos_and_padding(tokenizer: PreTrainedTokenizerFast) -> None:
    tokenizer.add_special_tokens({"additional_special_tokens": ["<think>", "</think>"]})
    assert completion_texts(tokenizer, [[4, 10, 5, 8, 1, 0]], {0, 1}) == ["<think> c </think> a"]
