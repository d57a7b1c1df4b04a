"""Requests in any order and number: same answers as one at a time."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaForCausalLM, PreTrainedModel, PreTrainedTokenizerFast

from bai_sweep.generation import batches_by_tokens, continuation_logprobs, eos_ids, generate, in_order
from bai_sweep.generation._heads import head_of

EOS = 5  # the model fixture's


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerFast:
    inner = Tokenizer(models.WordLevel({f"w{i}": i for i in range(40)}, unk_token="w3"))
    inner.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(tokenizer_object=inner, eos_token=f"w{EOS}", pad_token="w0")


def generated(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, prompts: Sequence[list[int]], **settings: Any
) -> list[list[int]]:
    return in_order(generate(model, tokenizer, prompts, **({"max_new_tokens": 20, "batch_tokens": 500} | settings)))


@given(st.lists(st.integers(1, 50), max_size=30), st.integers(1, 200))
def test_batches_hold_every_row_once_within_the_budget(lengths: list[int], budget: int) -> None:
    groups = list(batches_by_tokens(lengths, budget))
    assert sorted(i for group in groups for i in group) == list(range(len(lengths)))
    for group in groups:
        assert len(group) == 1 or len(group) * max(lengths[i] for i in group) <= budget
    longest = [lengths[group[0]] for group in groups]
    assert longest == sorted(longest, reverse=True)


@pytest.mark.parametrize("batch_tokens", [1, 90, 10_000])
def test_generate_answers_in_input_order_without_eos(
    model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, prompts: list[list[int]], batch_tokens: int
) -> None:
    answers = generated(model, tokenizer, prompts, batch_tokens=batch_tokens)
    for prompt, answer in zip(prompts, answers, strict=True):
        alone = generated(model, tokenizer, [prompt], batch_tokens=1)[0]
        assert answer == alone
        assert EOS not in answer
    assert any(len(answer) < 20 for answer in answers)


def test_generate_stops_at_a_string_that_spans_tokens(
    model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, prompts: list[list[int]]
) -> None:
    free = generated(model, tokenizer, prompts)
    row = max(range(len(free)), key=lambda i: len(free[i]))
    stop = f"w{free[row][5]} w{free[row][6]}"
    stopped = generated(model, tokenizer, prompts, stop_strings=["nothing", stop])[row]
    assert stop in tokenizer.decode(stopped)
    assert stopped == free[row][: len(stopped)]
    assert stop not in tokenizer.decode(stopped[:-1])


def test_continuations_match_one_full_forward_pass_each(model: LlamaForCausalLM, prompts: list[list[int]]) -> None:
    rng = random.Random(1)
    pairs = [(p, [rng.randrange(6, 40) for _ in range(rng.randrange(1, 6))]) for p in prompts]
    pairs += [(prompts[0], [token]) for token in range(6, 12)]  # share a row
    pairs += [(prompts[0] + [9], [11]), (prompts[0], [9, 11])]  # share a row with another split
    with torch.no_grad():
        tops = [int(model(torch.tensor([p])).logits[0, -1].argmax()) for p in prompts]
    pairs += [(p, [top]) for p, top in zip(prompts, tops, strict=True)]  # greedy ones
    for batch_tokens in (1, 60, 10_000):
        got = in_order(continuation_logprobs(model, pairs, batch_tokens))
        for (context, continuation), (logprob, greedy) in zip(pairs, got, strict=True):
            with torch.no_grad():
                logits = model(torch.tensor([context + continuation])).logits[0, len(context) - 1 : -1].double()
            expected = logits.log_softmax(-1)[torch.arange(len(continuation)), continuation].sum()
            assert logprob == pytest.approx(float(expected), abs=3e-5)
            assert greedy == (logits.argmax(-1).tolist() == continuation)
    assert all(greedy for _, greedy in got[-len(prompts) :])


@pytest.mark.parametrize(("pair", "name"), [(([], [3]), "context"), (([3], []), "continuation")])
def test_empty_pairs_are_an_error(model: LlamaForCausalLM, pair: tuple[list[int], list[int]], name: str) -> None:
    with pytest.raises(ValueError, match=f"pair 1 has an empty {name}"):
        list(continuation_logprobs(model, [([3], [4]), pair], 100))


def test_nothing_asked_nothing_answered(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast) -> None:
    assert generated(model, tokenizer, []) == []
    assert list(continuation_logprobs(model, [], 100)) == []


def test_every_declared_eos_counts(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast) -> None:
    assert eos_ids(model, tokenizer) == (EOS,)
    model.generation_config.eos_token_id = [EOS, 9]
    try:
        assert eos_ids(model, tokenizer) == (EOS, 9)
    finally:
        model.generation_config.eos_token_id = EOS


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_a_shared_beginning_changes_no_answer(
    model: LlamaForCausalLM,
    tokenizer: PreTrainedTokenizerFast,
    prompts: list[list[int]],
    temperature: float,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Two headers that fill a batch each, beside prompts without one: as if each prompt were alone."""
    heads: list[int] = []

    def counted(model: PreTrainedModel, tokens: Sequence[int]) -> Any:
        heads.append(len(tokens))
        return head_of(model, tokens)

    monkeypatch.setattr("bai_sweep.generation._rows.head_of", counted)
    headers = [[6 + (k * 7 + i * i) % 34 for i in range(40)] for k in range(2)]
    mixed = [header + prompt for header in headers for prompt in prompts] + prompts
    seeds = list(range(len(mixed)))
    settings: dict[str, Any] = {"temperature": temperature, "batch_tokens": len(prompts) * (57 + 20)}
    answers = generated(model, tokenizer, mixed, seeds=seeds, **settings)
    alone = [generated(model, tokenizer, [p], seeds=[s], **settings)[0] for p, s in zip(mixed, seeds, strict=True)]
    assert answers == alone
    assert len({tuple(answer) for answer in answers}) > 20
    assert heads.count(40) == 2


def test_a_shared_beginning_changes_no_score(model: LlamaForCausalLM, prompts: list[list[int]]) -> None:
    header = [6 + (i * i) % 34 for i in range(40)]
    pairs = [(header + prompt, [7, 9]) for prompt in prompts] + [(header, [8]), (header[:39], [header[39], 8])]
    pairs += [(prompt, [7]) for prompt in prompts]
    for pair, (logprob, greedy) in zip(pairs, in_order(continuation_logprobs(model, pairs, 2000)), strict=True):
        ((expected, is_greedy),) = in_order(continuation_logprobs(model, [pair], 2000))
        assert logprob == pytest.approx(expected, abs=3e-5)
        assert greedy == is_greedy


def test_the_shared_beginning_is_fed_once(
    model: LlamaForCausalLM, prompts: list[list[int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bai_sweep.generation._continuations.can_share", lambda _: True)
    fed: list[int] = []
    header = [6 + (i * i) % 34 for i in range(60)]
    hook = model.model.register_forward_pre_hook(
        lambda module, args, kwargs: fed.append(kwargs["input_ids"].numel()), with_kwargs=True
    )
    try:
        list(continuation_logprobs(model, [(header + prompt, [7]) for prompt in prompts], 10_000))
    finally:
        hook.remove()
    longest = max(map(len, prompts))
    assert sum(fed) <= 60 + len(prompts) * longest + 10  # and not 60 for each
