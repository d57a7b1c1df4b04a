"""Rows that find no room go on later, with the same answers, and memory stays within its bound."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

from bai_sweep.generation import Samples, generate, in_order, sample, uniform_numbers
from bai_sweep.generation._rows import Room

EOS = 5  # the model fixture's


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerFast:
    inner = Tokenizer(models.WordLevel({f"w{i}": i for i in range(40)}, unk_token="w3"))
    inner.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(tokenizer_object=inner, eos_token=f"w{EOS}", pad_token="w0")


@pytest.fixture
def shapes(model: LlamaForCausalLM) -> Any:
    """(rows, positions) of the cache at each forward pass."""
    seen: list[tuple[int, int]] = []

    def note(_: torch.nn.Module, __: object, fed: dict[str, Any]) -> None:
        seen.append((len(fed["input_ids"]), fed["attention_mask"].shape[-1]))

    hook = model.register_forward_pre_hook(note, with_kwargs=True)
    yield seen
    hook.remove()


@pytest.fixture(autouse=True)
def small_guess(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that sixty tokens are a long response."""
    monkeypatch.setattr("bai_sweep.generation._batches.GUESS", 8)


def batches(
    model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, prompts: Sequence[list[int]], **settings: Any
) -> list[list[tuple[int, list[int]]]]:
    wanted: dict[str, Any] = {"max_new_tokens": 60, "batch_tokens": 160, "seeds": list(range(len(prompts)))}
    return list(generate(model, tokenizer, prompts, **(wanted | settings)))


def one_by_one(
    model: LlamaForCausalLM, prompts: Sequence[list[int]], new: Sequence[int], temperature: float
) -> list[list[int]]:
    """Each prompt alone, through the sampler without a budget, with its own seed."""
    answers = []
    for i, (prompt, limit) in enumerate(zip(prompts, new, strict=True)):
        uniform = uniform_numbers(limit, 1, torch.Generator().manual_seed(i))
        drawn = sample(
            model, [prompt], max_new_tokens=limit, temperature=temperature, eos_token_ids=[EOS], uniform=uniform
        )
        (tokens,) = drawn.completions()
        answers.append(tokens[:-1] if tokens[-1] == EOS else tokens)
    return answers


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_answers_do_not_depend_on_suspension(
    model: LlamaForCausalLM,
    tokenizer: PreTrainedTokenizerFast,
    prompts: list[list[int]],
    shapes: list[tuple[int, int]],
    temperature: float,
) -> None:
    got = batches(model, tokenizer, prompts, temperature=temperature)
    answers = in_order(got)
    passes = list(shapes)
    assert answers == one_by_one(model, prompts, [60] * len(prompts), temperature)
    assert len({len(answer) for answer in answers}) > 3
    prefills = [i for i in range(1, len(passes)) if passes[i][1] != passes[i - 1][1] + 1]
    assert sum(passes[i][0] for i in [0, *prefills]) > len(prompts), "the seed should suspend some row"
    assert all(rows == 1 or rows * positions <= 160 for rows, positions in passes)


def test_more_rows_start_than_fit_at_full_length(
    model: LlamaForCausalLM,
    tokenizer: PreTrainedTokenizerFast,
    prompts: list[list[int]],
    shapes: list[tuple[int, int]],
) -> None:
    batches(model, tokenizer, prompts, batch_tokens=160)
    longest = max(map(len, prompts))
    assert shapes[0] == (160 // (longest + 9), longest)
    assert 160 // (longest + 60) < shapes[0][0]


def test_batch_sizes_are_learned_from_what_has_ended(
    model: LlamaForCausalLM,
    tokenizer: PreTrainedTokenizerFast,
    shapes: list[tuple[int, int]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Responses of one token: 10 rows of 1 + 8 in the first batch, 30 of 1 + 2 in the second."""
    monkeypatch.setattr("bai_sweep.generation._batches.MARGIN", 1.0)
    ends = lambda tokens: True  # noqa: E731
    monkeypatch.setattr("bai_sweep.generation._generate.StopStrings", lambda *_: ends)
    batches(model, tokenizer, [[7 + k % 30] for k in range(70)], batch_tokens=90, stop_strings=["any"])
    assert [rows for rows, _ in shapes] == [10, 45, 15]


def test_the_same_requests_give_the_same_batches(
    model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, prompts: list[list[int]]
) -> None:
    first, again = (batches(model, tokenizer, prompts, temperature=1.0) for _ in range(2))
    assert first == again
    assert sorted(i for batch in first for i, _ in batch) == list(range(len(prompts)))


def test_a_limit_for_each_prompt(
    model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, prompts: list[list[int]]
) -> None:
    limits = [1 + 7 * k for k in range(len(prompts))]
    for budget in (100, 10_000):
        answers = in_order(
            batches(model, tokenizer, prompts, temperature=1.0, max_new_tokens=limits, batch_tokens=budget)
        )
        assert answers == one_by_one(model, prompts, limits, 1.0)
    assert any(len(answer) == limit for answer, limit in zip(answers, limits, strict=True))
    with pytest.raises(ValueError, match="11 prompts need as many limits of new tokens, not 2"):
        batches(model, tokenizer, prompts, max_new_tokens=[3, 4])


def test_sampling_needs_seeds(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast) -> None:
    with pytest.raises(ValueError, match=r"at temperature 0\.5 each prompt is sampled with its own seed"):
        batches(model, tokenizer, [[7]], temperature=0.5, seeds=None)


def test_a_stop_string_is_found_where_suspension_cuts_it(
    model: LlamaForCausalLM,
    tokenizer: PreTrainedTokenizerFast,
    prompts: list[list[int]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    continued: list[tuple[list[int], int]] = []  # rows of the sampler, with how much of the response is in them

    def noted(model: LlamaForCausalLM, rows: Sequence[list[int]], drawn: Sequence[int], **settings: Any) -> Samples:
        continued.extend((list(row), count) for row, count in zip(rows, drawn, strict=True) if count)
        return sample(model, rows, drawn=drawn, **settings)

    monkeypatch.setattr("bai_sweep.generation._generate.sample", noted)
    free = in_order(batches(model, tokenizer, prompts))
    checked = 0
    for row, cut in list(continued):
        i = prompts.index(row[:-cut])
        stop = f"w{free[i][cut - 1]} w{free[i][cut]}"
        if stop not in tokenizer.decode(free[i][:cut]):
            stopped = in_order(batches(model, tokenizer, prompts, stop_strings=[stop]))
            assert stopped[i] == free[i][: cut + 1]
            checked += 1
    assert checked, "the seed should suspend a row between two tokens that are new together"


def drawn(model: LlamaForCausalLM, prompts: Sequence[list[int]], **settings: Any) -> Samples:
    generator = torch.Generator().manual_seed(3)
    wanted: dict[str, Any] = {"max_new_tokens": 40, "temperature": 1.0, "eos_token_ids": [EOS]}
    return sample(model, prompts, generator=generator, **(wanted | settings))


def test_the_last_rows_are_suspended_and_the_first_goes_on(model: LlamaForCausalLM, prompts: list[list[int]]) -> None:
    whole = drawn(model, prompts, eos_token_ids=[])
    cut = drawn(model, prompts, eos_token_ids=[], room=Room(12 * len(prompts) + 60))
    lengths = cut.lengths.tolist()
    assert lengths == sorted(lengths, reverse=True)
    assert lengths[0] == 40 > lengths[-1]
    assert len(set(lengths)) > 3
    assert not cut.ended.any()
    assert [row[:n] for row, n in zip(whole.completions(), lengths, strict=True)] == cut.completions()


def test_a_few_stragglers_are_suspended_once_that_is_cheap(
    model: LlamaForCausalLM, prompts: list[list[int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows of up to 17 tokens: two that are left after t more may go on later where 2 (17 + t) <= 10 t, from t = 5."""
    monkeypatch.setattr("bai_sweep.generation._rows.PASS_TOKENS", 10)
    limits = [2] * 9 + [40] * 2
    settings: dict[str, Any] = {"max_new_tokens": limits, "eos_token_ids": []}
    assert drawn(model, prompts, room=Room(10_000, few=1), **settings).lengths.tolist() == limits
    suspended = drawn(model, prompts, room=Room(10_000, few=2), **settings)
    expected = next(t for t in range(40) if 2 * (max(map(len, prompts)) + t - 1) <= 10 * t)
    assert suspended.lengths.tolist() == [2] * 9 + [expected] * 2
    assert not suspended.ended.any()


def test_limits_of_their_own_end_rows_where_they_would_be_cut(
    model: LlamaForCausalLM, prompts: list[list[int]]
) -> None:
    limits = [10 + 3 * k for k in range(len(prompts))]  # as many numbers are drawn for the longest, 40
    whole, cut = drawn(model, prompts), drawn(model, prompts, max_new_tokens=limits)
    for full, row, limit, ended in zip(
        whole.completions(), cut.completions(), limits, cut.ended.tolist(), strict=True
    ):
        assert row == full[:limit]
        assert ended == (row[-1] == EOS)


def test_a_static_cache_has_no_room_to_grow(model: LlamaForCausalLM) -> None:
    with pytest.raises(ValueError, match="a static cache does not grow"):
        drawn(model, [[7]], static_cache=True, room=Room(100))


def test_without_room_the_cache_is_as_large_as_it_gets(model: LlamaForCausalLM, prompts: list[list[int]]) -> None:
    """PPO's way: nothing is suspended, and no buffer is moved."""
    from bai_sweep.generation._rows import Begun, Rows

    with torch.no_grad():
        layer = Rows(model, Begun(prompts), [300] * len(prompts)).cache.layers[0]
        growing = Rows(model, Begun(prompts), [300] * len(prompts), room=Room(10_000)).cache.layers[0]
    positions = max(map(len, prompts)) + 300
    assert layer.keys.untyped_storage().nbytes() == len(prompts) * 2 * positions * 8 * 4
    assert growing.keys.untyped_storage().nbytes() < layer.keys.untyped_storage().nbytes() / 2
