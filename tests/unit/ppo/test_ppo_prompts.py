"""Prompts: where they come from, in which order, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from transformers import PreTrainedTokenizerFast

from bai_sweep.ppo._prompts import PromptBatch, columns_of, draw_order, prompt_batches, read_prompts
from bai_sweep.records import UserError

Make = Callable[..., Any]


def batches(reward: Any, tokenizer: PreTrainedTokenizerFast, **changes: Any) -> list[PromptBatch]:
    settings = {"steps": 3, "batch_size": 4, "num_generations": 1, "max_prompt_tokens": 16, "seed": 0} | changes
    rows = read_prompts(reward.prompts, seed=0, needed=12)
    return prompt_batches(rows, tokenizer, column=reward.prompts.column, **settings)


@given(st.integers(1, 20), st.integers(1, 70), st.integers(0, 5))
def test_every_epoch_is_a_permutation(rows: int, needed: int, seed: int) -> None:
    order = list(draw_order(rows, needed, seed))
    assert len(order) == needed
    for start in range(0, needed, rows):
        epoch = order[start : start + rows]
        assert len(set(epoch)) == len(epoch)
    assert order == list(draw_order(rows, needed, seed))


def test_seeds_differ() -> None:
    assert list(draw_order(50, 50, 0)) != list(draw_order(50, 50, 1))


def test_text_keeps_its_columns(make_reward: Make, tokenizer: PreTrainedTokenizerFast) -> None:
    got = batches(make_reward([{"prompt": word, "answer": word * 2} for word in "abcdefgh"]), tokenizer)
    assert [len(b.prompts) for b in got] == [4, 4, 4]
    assert sorted([*got[0].prompts, *got[1].prompts]) == list("abcdefgh")
    for batch in got:
        assert batch.columns["answer"] == [p * 2 for p in batch.prompts]
        assert [tokenizer.decode(ids) for ids in batch.token_ids] == batch.prompts


def test_conversations_end_where_the_assistant_speaks(make_reward: Make, tokenizer: PreTrainedTokenizerFast) -> None:
    rows = [{"question": [{"role": "user", "content": f"a {word}"}]} for word in "bcde"]
    batch = batches(make_reward(rows, column="question"), tokenizer)[0]
    for prompt, ids in zip(batch.prompts, batch.token_ids, strict=True):
        assert tokenizer.convert_ids_to_tokens(list(ids)) == [
            "<|user|>",
            *prompt[0]["content"].split(),
            "<|assistant|>",
        ]


def test_groups_stand_in_a_row_and_draw_fewer_prompts(make_reward: Make, tokenizer: PreTrainedTokenizerFast) -> None:
    got = batches(make_reward([{"prompt": word, "answer": word * 2} for word in "abcdefgh"]), tokenizer)
    grouped = batches(
        make_reward([{"prompt": word, "answer": word * 2} for word in "abcdefgh"]),
        tokenizer,
        batch_size=8,
        steps=1,
        num_generations=2,
    )
    assert list(grouped[0].prompts) == [prompt for prompt in got[0].prompts for _ in range(2)]
    assert grouped[0].columns["answer"] == [prompt * 2 for prompt in grouped[0].prompts]
    assert grouped[0].token_ids[0] == grouped[0].token_ids[1] != grouped[0].token_ids[2]


def test_parts_keep_their_columns() -> None:
    batch = PromptBatch(["a", "b", "c"], [[1], [2], [3]], {"answer": [4, 5, 6]})
    assert batch[1:] == PromptBatch(["b", "c"], [[2], [3]], {"answer": [5, 6]})


def test_columns_that_reward_functions_get(make_reward: Make, tokenizer: PreTrainedTokenizerFast) -> None:
    rows = [{"question": word, "prompt": "", "completion": "b", "answer": 1} for word in "abcd"]
    reward = make_reward(rows, column="question")
    assert list(batches(reward, tokenizer)[0].columns) == columns_of(reward.prompts) == ["answer"]
    assert columns_of(make_reward(source="testbed").prompts) == ["answer", "kind"]
    assert columns_of(make_reward(source="some/dataset").prompts) is None
    clashing = make_reward([{"prompt": "a", "completions": 1, "log_metric": 2}])
    for refuse in (lambda: batches(clashing, tokenizer), lambda: columns_of(clashing.prompts)):
        with pytest.raises(UserError, match="the dataset has a column completions, log_metric; rename or remove it"):
            refuse()


def test_parquet_and_count(tmp_path: Path, make_reward: Make, tokenizer: PreTrainedTokenizerFast) -> None:
    from datasets import Dataset

    Dataset.from_list([{"prompt": word} for word in "abcdef"]).to_parquet(tmp_path / "p.parquet")
    got = batches(make_reward(source=str(tmp_path / "p.parquet"), count=2), tokenizer)
    assert {p for batch in got for p in batch.prompts} == {"a", "b"}


def test_only_drawn_prompts_are_tokenized(make_reward: Make, tokenizer: PreTrainedTokenizerFast) -> None:
    rows = [{"prompt": "a"}] * 4 + [{"prompt": "a " * 99}]
    first = next(iter(draw_order(5, 1, 0)))
    rows[first], rows[4] = {"prompt": "b"}, rows[first] if first != 4 else rows[4]
    assert batches(make_reward(rows), tokenizer, steps=1, batch_size=1)[0].prompts == ["b"]


@pytest.mark.parametrize(
    ("rows", "changes", "message"),
    [
        ([{"prompt": "a " * 17}], {}, r"1 to 16 tokens \(max_prompt_tokens\); prompt 0 has 17"),
        ([{"prompt": ""}], {}, "prompt 0 has 0"),
        ([{"prompt": []}], {}, r"list of messages with role and content; prompt 0 is \[\]"),
        ([{"prompt": 7}], {}, "text or a list of messages with role and content; prompt 0 is 7"),
        ([{"question": "a", "answer": 1}], {}, "has question, answer; got 'prompt'"),
        (None, {"source": "/no/such/file.jsonl"}, r"'/no/such/file.jsonl' \(train\) could not be read"),
    ],
)
def test_bad_prompts(
    make_reward: Make, tokenizer: PreTrainedTokenizerFast, rows: Any, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        batches(make_reward(rows, **changes), tokenizer)


def test_conversations_need_a_template(make_reward: Make, tokenizer: PreTrainedTokenizerFast) -> None:
    tokenizer.chat_template = None
    with pytest.raises(UserError, match="conversations need a chat template"):
        batches(make_reward([{"prompt": [{"role": "user", "content": "a"}]}]), tokenizer)


def test_the_testbed_is_a_source(make_reward: Make, tokenizer: PreTrainedTokenizerFast) -> None:
    batch = batches(make_reward(source="testbed"), tokenizer, max_prompt_tokens=500)[0]
    assert set(batch.columns) == {"answer", "kind"}
    assert batch.prompts[0][0]["role"] == "user"
