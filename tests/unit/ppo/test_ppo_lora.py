"""Adapters: what is trained, what is shared, and what comes out."""

from __future__ import annotations

import builtins
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from torch import nn
from transformers import AutoModelForCausalLM, LlamaForCausalLM

from bai_sweep.ppo.networks import Networks, copy_sharing_frozen, lora_config, make_networks
from bai_sweep.records import UserError
from tests.unit.ppo.test_ppo_networks import tokens_of

Make = Callable[..., Any]
CPU = torch.device("cpu")
LORA = {"r": 4, "alpha": 8.0, "target_modules": "all-linear"}


@pytest.fixture
def adapted(make_model: Make, make_settings: Make) -> Callable[..., Networks]:
    def make(model: Any = None, peft_config: LoraConfig | None = None, **changes: Any) -> Networks:
        settings = make_settings(**({"lora": LORA if peft_config is None else None} | changes))
        actor = make_model(initializer_range=0.3) if model is None else model
        return make_networks(actor, None, settings, device=CPU, longest=24, peft_config=peft_config)

    return make


def pointers(module: nn.Module) -> set[int]:
    return {p.data_ptr() for p in module.parameters()}


def learn(networks: Networks) -> None:
    """Moves every trained weight, so that the adapter does something."""
    noise = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter in (*networks.actor_parameters(), *networks.critic_parameters()):
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=noise))


def logprobs(model: LlamaForCausalLM) -> torch.Tensor:
    """By transformers' own forward pass."""
    tokens = tokens_of()
    with torch.no_grad():
        whole = model(tokens.input_ids).logits.log_softmax(-1)
    return whole[tokens.rows, tokens.positions, tokens.targets]


def test_adapters_of_actor_and_critic_share_every_frozen_weight(adapted: Make, make_model: Make) -> None:
    plain = make_model(initializer_range=0.3)
    networks = adapted()
    trained = {name for name, p in networks.module.named_parameters() if p.requires_grad}
    assert trained == {n for n, _ in networks.module.named_parameters() if "lora_" in n or n == "critic.head.weight"}
    # 2 layers: q, k, v, o of 32 x 32, gate, up, down of 32 x 48; rank 4 has 4 * (inputs + outputs)
    per_adapter = 2 * (4 * 4 * 64 + 3 * 4 * 80)
    assert sum(p.numel() for p in networks.actor_parameters()) == per_adapter
    assert sum(p.numel() for p in networks.critic_parameters()) == per_adapter + 32
    everything = {p.data_ptr(): p.numel() for m in (networks.module, networks.reference) for p in m.parameters()}
    assert sum(everything.values()) == plain.num_parameters() + 2 * per_adapter + 32
    assert pointers(networks.reference) <= pointers(networks.actor)


def test_the_reference_is_the_actor_with_its_adapter_off(adapted: Make, make_model: Make) -> None:
    networks = adapted()
    learn(networks)
    tokens = tokens_of()
    reference = networks.reference_logprobs(tokens, 1.0)
    torch.testing.assert_close(reference, logprobs(make_model(initializer_range=0.3)))
    now = networks.module(tokens, 1.0)[0].logprobs
    assert (now - reference).abs().max() > 0.01
    with networks.adapter.disable_adapter():
        torch.testing.assert_close(networks.module(tokens, 1.0)[0].logprobs, reference)


def test_gradients_reach_the_adapters_and_the_head_alone(adapted: Make) -> None:
    networks = adapted()
    learn(networks)
    scores, values = networks.module(tokens_of(), 1.0)
    (scores.logprobs.sum() + values.sum()).backward()
    moved = {name for name, p in networks.module.named_parameters() if p.grad is not None and p.grad.abs().sum() > 0}
    assert moved == {name for name, p in networks.module.named_parameters() if p.requires_grad}
    assert {p.grad for p in networks.reference.parameters()} == {None}


def test_a_critic_of_a_checkpoint_learns_an_adapter_over_its_own_weights(adapted: Make, reward_model: str) -> None:
    networks = adapted(critic=reward_model)
    names = [name for name, p in networks.critic.named_parameters() if p.requires_grad]
    assert "head.weight" in names
    assert all("lora_" in name or name == "head.weight" for name in names)
    assert len(names) == 1 + 2 * 2 * 7
    assert not pointers(networks.critic) & pointers(networks.actor)


def test_finish_leaves_the_same_object_plain_and_trained(adapted: Make, make_model: Make, tmp_path: Path) -> None:
    model = make_model(initializer_range=0.3)
    names, before = [name for name, _ in model.named_parameters()], logprobs(model)
    networks = adapted(model)
    learn(networks)
    trained = networks.module(tokens_of(), 1.0)[0].logprobs.detach()
    networks.adapter.save_pretrained(tmp_path / "adapter")
    networks.finish()
    assert [name for name, _ in model.named_parameters()] == names
    assert not hasattr(model, "peft_config")
    assert (trained - before).abs().max() > 0.01
    torch.testing.assert_close(logprobs(model), trained, atol=1e-5, rtol=1e-5)
    again = PeftModel.from_pretrained(make_model(initializer_range=0.3), tmp_path / "adapter").eval()
    torch.testing.assert_close(logprobs(again), trained, atol=1e-5, rtol=1e-5)
    model.save_pretrained(tmp_path / "plain")
    read = AutoModelForCausalLM.from_pretrained(tmp_path / "plain")
    torch.testing.assert_close(logprobs(read), logprobs(model))


def test_an_adapter_goes_on_and_the_reference_is_what_it_was(adapted: Make, make_model: Make) -> None:
    first = adapted()
    learn(first)
    model, start = first.adapter, logprobs(first.actor)
    networks = adapted(model, lora=None)
    assert networks.adapter is model
    assert networks.actor is model.get_base_model()
    frozen = [p for p in networks.actor.parameters() if not p.requires_grad]
    assert {p.data_ptr() for p in frozen} == pointers(networks.reference) & pointers(networks.actor)
    learn(networks)
    torch.testing.assert_close(networks.reference_logprobs(tokens_of(), 1.0), start)
    assert (logprobs(networks.actor) - start).abs().max() > 0.01
    assert not any(p.requires_grad for p in networks.reference.parameters())


def test_an_adapter_loaded_for_inference_is_trained(adapted: Make, make_model: Make, tmp_path: Path) -> None:
    adapted().adapter.save_pretrained(tmp_path)
    loaded = PeftModel.from_pretrained(make_model(initializer_range=0.3), tmp_path)
    assert not any(p.requires_grad for p in loaded.parameters())
    assert len(adapted(loaded, lora=None).actor_parameters()) == 2 * 2 * 7


def test_the_seed_makes_the_adapter_and_the_global_generator_is_left_alone(adapted: Make, make_model: Make) -> None:
    weights = []
    for drawn in range(2):
        model = make_model()
        torch.rand(drawn)
        state = torch.get_rng_state()
        weights.append([p.detach().clone() for p in adapted(model).actor_parameters()])
        assert torch.equal(torch.get_rng_state(), state)
    torch.testing.assert_close(weights[0], weights[1], rtol=0, atol=0)


def test_dropout_is_not_applied_and_that_is_said(adapted: Make, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        networks = adapted(peft_config=LoraConfig(r=4, lora_dropout=0.5, target_modules=["q_proj"]))
    assert "lora_dropout=0.5 is not applied" in caplog.text
    learn(networks)
    first, second = (networks.module(tokens_of(), 1.0)[0].logprobs for _ in range(2))
    assert torch.equal(first, second)


def test_one_adapter_at_a_time(adapted: Make, make_model: Make) -> None:
    model = get_peft_model(make_model(), LoraConfig(r=4, target_modules=["q_proj"]))
    with pytest.raises(UserError, match=r"goes on with that adapter; leave out peft_config and lora"):
        adapted(model)


def test_prompts_are_no_adapters_of_layers(adapted: Make) -> None:
    config = peft.PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=4)
    with pytest.raises(UserError, match=r"PROMPT_TUNING stands before them; use LoRA"):
        adapted(peft_config=config)


def test_layers_that_are_not_there(adapted: Make) -> None:
    with pytest.raises(UserError, match=r"LlamaForCausalLM: .*nowhere.*change target_modules"):
        adapted(lora=LORA | {"target_modules": ("nowhere",)})


def state_of(model: nn.Module) -> dict[str, Any]:
    return {name: p.requires_grad for name, p in model.named_parameters()}


@pytest.mark.parametrize("targets", [("zzz",), ("lm_head",), ("q_proj", "input_layernorm")])
def test_an_adapter_that_does_not_fit_leaves_the_model_as_it_was(
    adapted: Make, make_model: Make, targets: tuple[str, ...]
) -> None:
    """The second fits the actor and not its critic; of the third, the first layers are put in before PEFT refuses."""
    model = make_model(tie_word_embeddings=False)
    model.model.embed_tokens.requires_grad_(False)
    before, output = state_of(model), logprobs(model)
    with pytest.raises(UserError, match="change target_modules"):
        adapted(model, lora=LORA | {"target_modules": targets})
    assert state_of(model) == before
    assert not hasattr(model, "peft_config")
    torch.testing.assert_close(logprobs(model), output, rtol=0, atol=0)


@pytest.mark.filterwarnings("ignore:Model has `tie_word_embeddings=True`:UserWarning")
@pytest.mark.parametrize("layer", ["embed_tokens", "lm_head"])
def test_an_adapter_on_a_tied_layer_is_refused(adapted: Make, make_model: Make, layer: str) -> None:
    model = make_model()
    before = state_of(model)
    with pytest.raises(UserError, match=rf"those of \S*{layer} are tied .*; leave it out of target_modules"):
        adapted(model, lora=LORA | {"target_modules": ("q_proj", layer)})
    assert state_of(model) == before
    given = get_peft_model(model, LoraConfig(r=4, target_modules=["q_proj", layer]))
    with pytest.raises(UserError, match=rf"those of \S*{layer} are tied"):
        adapted(given, lora=None)


@pytest.mark.filterwarnings("error")
def test_peft_warns_of_nothing(adapted: Make) -> None:
    adapted()


def test_without_peft_the_error_says_what_to_install(make_settings: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    settings, real = make_settings(lora=LORA), builtins.__import__

    def without(name: str, *rest: Any) -> Any:
        if name == "peft":
            raise ImportError("No module named 'peft'")
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(UserError, match=r"pip install 'bai-sweep\[lora\]'"):
        lora_config(settings.lora)


def test_a_copy_shares_what_is_frozen_and_nothing_else(make_model: Make) -> None:
    model = make_model()
    model.base_model.layers[0].requires_grad_(False)
    copied = copy_sharing_frozen(model)
    for (name, ours), theirs in zip(copied.named_parameters(), model.parameters(), strict=True):
        assert (ours.data_ptr() == theirs.data_ptr()) == ("layers.0." in name)
    assert copied.config is not model.config
