"""The engine against a server on loopback: what is sampled, with which weights, and what is asked of the server."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch import Tensor, nn
from transformers import LlamaForCausalLM

from bai_sweep.generation import Samples, uniform_numbers
from bai_sweep.ppo.rollouts._vllm import VLLMEngine
from bai_sweep.records import UserError
from tests.integration.ppo.vllm_stand_in import LOOPBACK, StandIn

PROMPTS = [[1, 9, 10], [1, 11], [1, 9, 10], [1, 30, 31, 32, 33], [1, 8]]
Start = Callable[..., VLLMEngine]


def uniform(seed: int, rows: int = len(PROMPTS), tokens: int = 24) -> Tensor:
    return uniform_numbers(tokens, rows, torch.Generator().manual_seed(seed))


def logprobs_under(model: nn.Module, samples: Samples, temperature: float) -> list[Tensor]:
    """What a model says of each completion, by one forward pass a row."""
    found = []
    for prompt, completion in zip(PROMPTS, samples.completions(), strict=True):
        with torch.no_grad():
            logits = model(input_ids=torch.tensor([prompt + completion])).logits[0, len(prompt) - 1 : -1]
        spoken = torch.log_softmax(logits.double() / temperature, dim=-1)
        found.append(spoken[torch.arange(len(completion)), torch.tensor(completion)].float())
    return found


def assert_drawn_from(model: nn.Module, samples: Samples, temperature: float = 0.7) -> None:
    for row, expected in enumerate(logprobs_under(model, samples, temperature)):
        torch.testing.assert_close(samples.logprobs[row, : len(expected)], expected, atol=1e-4, rtol=0)
        assert not samples.logprobs[row, len(expected) :].any()
        assert not samples.tokens[row, len(expected) :].any()


def change(model: nn.Module) -> None:
    """What an optimizer step does, larger."""
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))


@pytest.mark.parametrize("temperature", [0.7, 1.0, 1.3])
def test_logprobs_are_those_of_the_actor_at_the_sampling_temperature(
    start: Start, server: StandIn, actor: LlamaForCausalLM, temperature: float
) -> None:
    engine = start(url=server.url, temperature=temperature)
    engine.sync()
    samples = engine.generate(PROMPTS, uniform(0))
    assert samples.tokens.dtype == torch.int64
    assert samples.logprobs.dtype == torch.float32
    assert_drawn_from(actor, samples, temperature)


def test_rows_end_at_every_eos_token_or_at_the_limit(start: Start, server: StandIn) -> None:
    engine = start(url=server.url, temperature=3.0, max_new_tokens=20)
    engine.sync()
    prompts = PROMPTS * 12
    samples = engine.generate(prompts, uniform(1, rows=len(prompts)))
    lasts = set()
    for completion, ended in zip(samples.completions(), samples.ended.tolist(), strict=True):
        assert not {2, 7} & set(completion[:-1])
        assert ended == (completion[-1] in (2, 7))
        assert ended or len(completion) == 20
        lasts.add(completion[-1])
    assert {2, 7} < lasts  # both, and rows that were cut off
    assert samples.tokens.shape[1] == int(samples.lengths.max())


def test_without_a_sync_the_server_keeps_the_old_weights_and_after_it_has_the_new(
    start: Start, server: StandIn, actor: LlamaForCausalLM
) -> None:
    engine = start(url=server.url)
    engine.sync()
    old = copy.deepcopy(actor)
    change(actor)
    assert_drawn_from(old, engine.generate(PROMPTS, uniform(0)))
    with pytest.raises(AssertionError, match="not close"):
        assert_drawn_from(actor, engine.generate(PROMPTS, uniform(0)))
    engine.sync()
    assert_drawn_from(actor, engine.generate(PROMPTS, uniform(0)))
    assert server.model.state_dict().keys() == actor.state_dict().keys()
    for name, value in actor.state_dict().items():
        assert torch.equal(server.model.state_dict()[name], value), name


def test_equal_numbers_give_equal_completions_and_equal_prompts_do_not(start: Start, server: StandIn) -> None:
    engine = start(url=server.url, temperature=2.0)
    engine.sync()
    first, again, other = (engine.generate(PROMPTS, uniform(seed)) for seed in (0, 0, 1))
    assert torch.equal(first.tokens, again.tokens)
    assert torch.equal(first.logprobs, again.logprobs)
    assert first.completions() != other.completions()
    assert first.completions()[0] != first.completions()[2]  # one prompt, two rows
    reordered = engine.generate(PROMPTS[::-1], uniform(0).flip(1))
    assert reordered.completions()[::-1] == first.completions()


def test_what_is_asked_of_the_server(start: Start, server: StandIn) -> None:
    engine = start(url=server.url)
    engine.sync()
    engine.generate(PROMPTS, uniform(0))
    assert server.paths()[: server.paths().index("/v1/completions")] == [
        "/health",
        "/v1/models",
        "/server_info",  # the mode of log-probabilities
        "/server_info",  # TRL: the weight transfer
        "/get_world_size",
        "/init_weight_transfer_engine",
        "/start_weight_update",
        "/update_weights",
        "/finish_weight_update",
        "/reset_prefix_cache",
    ]
    asked = [body for path, body in server.requests if path == "/v1/completions"]
    assert sorted(body["prompt"] for body in asked) == sorted([prompt] for prompt in PROMPTS)
    assert {body["seed"] for body in asked} == {int(u * 2**53) for u in uniform(0)[0].tolist()}
    for body in asked:
        assert body["temperature"] == 0.7
        assert body["max_tokens"] == 24
        assert body["stop_token_ids"] == [2, 7]
        assert body["ignore_eos"] is True
    assert server.peers == {LOOPBACK}
    assert server.connections == {"close"}


def test_more_rows_than_are_sent_at_a_time(
    start: Start, server: StandIn, actor: LlamaForCausalLM, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bai_sweep.ppo.rollouts._vllm_client.CONCURRENT_REQUESTS", 2)
    engine = start(url=server.url)
    engine.sync()
    assert_drawn_from(actor, engine.generate(PROMPTS, uniform(0)))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_lora_is_sent_merged_and_the_base_stays_bit_by_bit(
    start: Start, server: StandIn, actor: LlamaForCausalLM, dtype: torch.dtype
) -> None:
    config = LoraConfig(r=4, lora_alpha=8, target_modules="all-linear", task_type="CAUSAL_LM")
    adapted = get_peft_model(actor.to(dtype), config)
    server.model.to(dtype)
    change(adapted)
    before = {name: value.clone() for name, value in adapted.state_dict().items()}
    engine = start(model=adapted, url=server.url)
    for _ in range(3):
        engine.sync()
    for name, value in adapted.state_dict().items():
        assert torch.equal(value, before[name]), name
    merged = copy.deepcopy(adapted).merge_and_unload()
    assert not torch.equal(merged.lm_head.weight, merged.model.layers[0].mlp.up_proj.weight)
    for name, value in merged.state_dict().items():
        assert torch.equal(server.model.state_dict()[name], value), name
    if dtype == torch.float32:
        assert_drawn_from(adapted, engine.generate(PROMPTS, uniform(0)))


@pytest.mark.filterwarnings("ignore:Model has `tie_word_embeddings=True`:UserWarning")
def test_lora_on_a_tied_layer_is_refused(start: Start, server: StandIn, actor: LlamaForCausalLM) -> None:
    adapted = get_peft_model(actor, LoraConfig(r=4, target_modules=["q_proj", "lm_head"], task_type="CAUSAL_LM"))
    engine = start(model=adapted, url=server.url)
    with pytest.raises(
        UserError, match=r"those of base_model.model.lm_head are tied .* leave it out of target_modules"
    ):
        engine.sync()


def test_a_second_engine_after_the_first_is_closed(start: Start, actor: LlamaForCausalLM, server: StandIn) -> None:
    start(url=server.url).close()
    server.group.close()
    server.group = None  # vLLM replaces its group when it is asked for one
    engine = start(url=server.url)
    engine.sync()
    assert_drawn_from(actor, engine.generate(PROMPTS, uniform(0)))
