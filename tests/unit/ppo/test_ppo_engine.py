"""The sampler as an engine: what it computes in."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from transformers import LlamaForCausalLM

from bai_sweep.generation import Samples, uniform_numbers
from bai_sweep.ppo.rollouts import HFEngine

PROMPTS = [[8, 9, 10], [11]]


def drawn(model: LlamaForCausalLM, precision: str) -> Samples:
    engine = HFEngine(model, max_new_tokens=6, temperature=1.0, eos_token_ids=[1], precision=precision)  # type: ignore[arg-type]
    return engine.generate(PROMPTS, uniform_numbers(6, len(PROMPTS), torch.Generator().manual_seed(0)))


def test_a_narrow_model_is_sampled_in_fp32_on_a_cpu(make_model: Callable[..., LlamaForCausalLM]) -> None:
    model = make_model()

    half, full = drawn(model, "bf16"), drawn(model, "fp32")

    assert torch.equal(half.tokens, full.tokens)
    assert torch.equal(half.logprobs, full.logprobs)


def test_a_wide_model_is_sampled_in_bf16(make_model: Callable[..., LlamaForCausalLM]) -> None:
    model = make_model(hidden_size=512, num_hidden_layers=1, initializer_range=0.02)

    half, full = drawn(model, "bf16"), drawn(model, "fp32")

    assert torch.equal(half.tokens[:, 0], full.tokens[:, 0])
    assert half.logprobs[:, 0].tolist() == pytest.approx(full.logprobs[:, 0].tolist(), abs=0.02)
    assert not torch.equal(half.logprobs, full.logprobs)
    assert model.dtype == torch.float32
