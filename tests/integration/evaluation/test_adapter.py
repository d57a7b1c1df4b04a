"""What the adapter does beyond HFLM."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from transformers import LlamaForCausalLM

from bai_sweep.config import EvaluationConfig
from bai_sweep.records import UserError
from tests.tiny import tiny_tokenizer


def test_the_marks_of_a_thought_are_seen_even_where_they_are_special_tokens(
    model: LlamaForCausalLM, configure: Callable[..., EvaluationConfig]
) -> None:
    """Decoding without special tokens would hide them, and with them the end of the thought."""
    from bai_sweep.evaluation._adapter import ActorLM

    tokenizer = tiny_tokenizer()
    tokenizer.add_special_tokens({"additional_special_tokens": ["<think>", "</think>"]})
    tokens = tokenizer.encode("<bos> <think> a b </think> c <eos>")
    assert "think" not in tokenizer.decode(tokens, skip_special_tokens=True)
    lm = ActorLM(model, tokenizer, configure(think_end="</think>"), None, lambda done, total: None)
    assert lm._decode(tokens).split() == ["<think>a", "b</think>c"]


def test_a_continuation_longer_than_the_context_is_an_error(
    model: LlamaForCausalLM, configure: Callable[..., EvaluationConfig]
) -> None:
    from bai_sweep.evaluation._adapter import ActorLM

    lm = ActorLM(model, tiny_tokenizer(), configure(), None, lambda done, total: None)
    assert len(lm._score([([5], [6] * 48)])) == 1
    with pytest.raises(UserError, match="a continuation of 49 tokens does not fit the context of 48"):
        lm._score([([5], [6] * 49)])
