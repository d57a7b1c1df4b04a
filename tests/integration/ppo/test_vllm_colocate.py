"""The engine with a vLLM in its own process, which the stand-in `LLM` takes the place of."""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest
import torch
from transformers import LlamaForCausalLM

from bai_sweep.ppo.rollouts._vllm import VLLMEngine
from bai_sweep.records import UserError
from tests.integration.ppo.conftest import spread
from tests.integration.ppo.test_vllm_server import PROMPTS, assert_drawn_from, change, uniform
from tests.integration.ppo.vllm_stand_in import LLM, SamplingParams
from tests.tiny import tiny_model

Start = Callable[..., VLLMEngine]


@pytest.fixture
def inside(monkeypatch: pytest.MonkeyPatch) -> list[LLM]:
    """Every LLM that is started; each has weights of its own."""
    started: list[LLM] = []
    start = LLM.__init__

    def remember(self: LLM, **arguments: object) -> None:
        start(self, **arguments)
        started.append(self)

    monkeypatch.setattr(LLM, "model", spread(tiny_model(seed=2)), raising=False)
    monkeypatch.setattr(LLM, "__init__", remember)
    return started


@pytest.fixture
def actor(actor: LlamaForCausalLM) -> LlamaForCausalLM:
    """Loaded from somewhere."""
    actor.name_or_path = "some/model"
    return actor


def test_weights_and_sampling_parameters(start: Start, inside: list[LLM], actor: LlamaForCausalLM) -> None:
    engine = start(mode="colocate", gpu_memory_utilization=0.4, max_model_length=128)
    (llm,) = inside
    assert llm.arguments["model"] == "some/model"
    assert llm.arguments["gpu_memory_utilization"] == 0.4
    assert llm.arguments["max_model_len"] == 128
    assert llm.arguments["logprobs_mode"] == "processed_logprobs"
    engine.sync()
    assert llm.resets == 1
    samples = engine.generate(PROMPTS, uniform(0))
    assert_drawn_from(actor, samples)
    seeds = [int(u * 2**53) for u in uniform(0)[0].tolist()]
    common = {"temperature": 0.7, "max_tokens": 24, "logprobs": 0, "stop_token_ids": [2, 7], "ignore_eos": True}
    assert llm.params == [SamplingParams(seed=seed, **common) for seed in seeds]


def test_new_weights_arrive_with_a_sync_only(start: Start, inside: list[LLM], actor: LlamaForCausalLM) -> None:
    engine = start(mode="colocate")
    engine.sync()
    change(actor)
    with pytest.raises(AssertionError, match="not close"):
        assert_drawn_from(actor, engine.generate(PROMPTS, uniform(0)))
    engine.sync()
    assert_drawn_from(actor, engine.generate(PROMPTS, uniform(0)))


def test_equal_numbers_give_equal_completions(start: Start, inside: list[LLM]) -> None:
    engine = start(mode="colocate", temperature=2.0)
    first, again = engine.generate(PROMPTS, uniform(0)), engine.generate(PROMPTS, uniform(0))
    assert torch.equal(first.tokens, again.tokens)
    assert torch.equal(first.logprobs, again.logprobs)
    assert first.completions()[0] != first.completions()[2]  # one prompt, two rows


def test_a_generation_that_does_not_end(start: Start, inside: list[LLM], monkeypatch: pytest.MonkeyPatch) -> None:
    engine = start(mode="colocate", timeout=0.3)
    engine.sync()
    monkeypatch.setattr(LLM, "pause", 3.0)
    message = r"^colocated vLLM: generate did not end within 0.3 s; if it needs longer, raise rl.vllm.timeout$"
    with pytest.raises(UserError, match=message):
        engine.generate(PROMPTS, uniform(0))


def test_an_error_inside_vllm_is_shown_as_it_is(
    start: Start, inside: list[LLM], monkeypatch: pytest.MonkeyPatch
) -> None:
    def out_of_memory(self: LLM) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    engine = start(mode="colocate")
    monkeypatch.setattr(LLM, "reset_prefix_cache", out_of_memory)
    with pytest.raises(torch.OutOfMemoryError, match="CUDA out of memory"):
        engine.sync()


def test_the_environment_is_left_as_it_was(start: Start, inside: list[LLM], monkeypatch: pytest.MonkeyPatch) -> None:
    # Left behind, they make the next Accelerator of this process wait for others.
    names = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
    for name in names:
        monkeypatch.delenv(name, raising=False)
    engine = start(mode="colocate")
    assert os.environ["WORLD_SIZE"] == "1"
    engine.close()
    assert not [name for name in names if name in os.environ]


def test_tensor_parallel_processes_that_do_not_divide(start: Start, inside: list[LLM]) -> None:
    with pytest.raises(UserError, match=r"must divide the number of processes \(1\), got 2"):
        start(mode="colocate", tensor_parallel_size=2)


def test_an_actor_made_in_memory(start: Start, inside: list[LLM], actor: LlamaForCausalLM) -> None:
    actor.name_or_path = ""
    with pytest.raises(UserError, match="and this actor was made in memory; load it with from_pretrained, or set"):
        start(mode="colocate")
    assert not inside


def test_the_environment_after_a_vllm_that_does_not_start(
    start: Start, inside: list[LLM], monkeypatch: pytest.MonkeyPatch
) -> None:
    def out_of_memory(self: LLM, **_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.delenv("WORLD_SIZE", raising=False)
    monkeypatch.setattr(LLM, "__init__", out_of_memory)
    with pytest.raises(torch.OutOfMemoryError, match="CUDA out of memory"):
        start(mode="colocate")
    assert "WORLD_SIZE" not in os.environ
