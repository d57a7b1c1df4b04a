"""Which lengths the networks accept, how they compute, and what gradient checkpointing saves."""

from __future__ import annotations

import copy
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, Gemma2Config, Lfm2Config, MambaConfig, MistralConfig, RwkvConfig

from bai_sweep.generation import sample
from bai_sweep.ppo._experience import judge
from bai_sweep.ppo.networks import SHORT, Networks, make_networks, recompute_layers
from bai_sweep.ppo.processes import Processes
from bai_sweep.ppo.rollouts import ResponseTokens, Rollout
from bai_sweep.records import UserError

Make = Callable[..., Any]
CPU = torch.device("cpu")
LONGROPE = {
    "rope_type": "longrope",
    "rope_theta": 1e4,
    "factor": 4.0,
    "short_factor": [1.0] * 8,
    "long_factor": [4.0] * 8,
    "original_max_position_embeddings": 16,
}
DYNAMIC = {"rope_type": "dynamic", "rope_theta": 1e4, "factor": 2.0}


def tokens_of(rows: int = 3, length: int = 12) -> ResponseTokens:
    """The last half of each row."""
    ids = torch.randint(8, 22, (rows, length), generator=torch.Generator().manual_seed(3))
    half = length // 2
    row = torch.arange(rows).repeat_interleave(half)
    positions = torch.arange(half - 1, length - 1).repeat(rows)
    return ResponseTokens(ids, row, positions, ids[row, positions + 1])


@pytest.mark.parametrize(
    ("rope", "longest", "limit"),
    [
        (None, 64, "64 positions"),
        (DYNAMIC, 64, "64 positions"),
        (LONGROPE, 16, "16 original_max_position_embeddings of a model with longrope"),
    ],
    ids=["default", "dynamic", "longrope"],
)
def test_rows_must_fit_the_positions(
    make_model: Make, make_settings: Make, rope: dict[str, Any] | None, longest: int, limit: str
) -> None:
    """At the limit, sampler and scorer agree; past it, rows are refused."""
    settings = make_settings(max_new_tokens=longest - 3, minibatch_size=2)
    model = make_model(initializer_range=0.3, rope_parameters=rope)
    networks = make_networks(model, None, settings, device=CPU, longest=longest)
    prompts, noise = [[8, 9, 10], [11]], torch.Generator().manual_seed(0)
    drawn = sample(model, prompts, max_new_tokens=longest - 3, temperature=1.0, eos_token_ids=[], generator=noise)
    rollout = Rollout.of(prompts, drawn)
    logprobs = judge(networks, rollout, settings, Processes()).logprobs
    torch.testing.assert_close(logprobs, rollout.sampled_logprobs, atol=1e-4, rtol=0)
    with pytest.raises(UserError, match=f"{limit}.* make {longest + 1}; lower rl.max_new_tokens"):
        make_networks(model, None, settings, device=CPU, longest=longest + 1)


def test_rope_of_each_type_of_layer(make_model: Make, make_settings: Make) -> None:
    model = make_model()
    model.config.rope_parameters = {"sliding_attention": {"rope_type": "default"}, "full_attention": LONGROPE}
    with pytest.raises(UserError, match="16 original_max_position_embeddings"):
        make_networks(model, None, make_settings(), device=CPU, longest=17)


STATES = {"state_size": 4, "hidden_size": 32, "num_hidden_layers": 2, "vocab_size": 22}
WINDOWS = {"hidden_size": 32, "intermediate_size": 48, "num_attention_heads": 2, "num_key_value_heads": 2} | {
    "head_dim": 16,
    "num_hidden_layers": 2,
    "vocab_size": 22,
    "sliding_window": 4,
}


@pytest.mark.parametrize(
    "config",
    [
        MambaConfig(**STATES),
        Lfm2Config(**WINDOWS, layer_types=["conv", "full_attention"]),
        RwkvConfig(hidden_size=32, attention_hidden_size=32, num_hidden_layers=2, vocab_size=22),
    ],
    ids=lambda config: config.model_type,
)
def test_models_whose_state_left_padding_enters_are_refused(config: Any, make_settings: Make) -> None:
    model = AutoModelForCausalLM.from_config(config)
    with pytest.raises(UserError, match=rf"{type(model).__name__} \({config.model_type}\) has recurrent.*vllm"):
        make_networks(model, None, make_settings(), device=CPU, longest=16)


@pytest.mark.parametrize("kind", [MistralConfig, Gemma2Config])
def test_windows_of_attention_are_sampled_as_they_are_trained(kind: Any, make_settings: Make) -> None:
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(kind(**WINDOWS, initializer_range=0.3))
    networks = make_networks(model, None, make_settings(), device=CPU, longest=24)
    prompts = [[8, 9], [10, 11, 12, 13, 14, 15, 16]]
    samples = sample(model, prompts, max_new_tokens=8, temperature=1.0, eos_token_ids=[1])
    rollout = Rollout.of(prompts, samples)
    with networks.computing():
        again = judge(networks, rollout, make_settings(), Processes()).logprobs
    torch.testing.assert_close(again, rollout.sampled_logprobs, atol=1e-4, rtol=0)


def attentions(networks: Networks) -> list[str]:
    models = [networks.actor, networks.critic.backbone, networks.reference.model]
    return [layer.self_attn.config._attn_implementation for m in models for layer in m.base_model.layers]


def test_short_rows_are_computed_with_eager_attention_and_nothing_stays_changed(
    networks_of: Make, make_settings: Make
) -> None:
    networks = networks_of(make_settings())
    before = attentions(networks)
    with networks.computing():
        assert attentions(networks) == ["eager"] * 6
    assert attentions(networks) == before == ["sdpa"] * 6
    networks = networks_of(make_settings(), longest=SHORT + 1, max_position_embeddings=2 * SHORT)
    with networks.computing():
        assert attentions(networks) == ["sdpa"] * 6


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
def test_checkpointing_saves_memory_and_changes_no_gradient(
    networks_of: Make, make_settings: Make, attention: str
) -> None:
    """The backward pass comes, as in training, when another attention is set."""
    longest = {"eager": 24, "sdpa": SHORT + 1}[attention]
    memory, gradients, kinds = {}, {}, {}
    for on in (False, True):
        settings = make_settings(gradient_checkpointing=on, lora=None)
        networks = networks_of(settings, longest=longest, max_position_embeddings=2 * SHORT)
        saved: list[Tensor] = []
        keep = torch.autograd.graph.saved_tensors_hooks(lambda t, s=saved: s.append(t) or t, lambda t: t)
        with networks.computing(), keep:
            scores, values = networks.module(tokens_of(), 1.0, entropy=True)
        own = {p.untyped_storage().data_ptr() for p in networks.module.parameters()}
        storages = {t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in saved}
        memory[on] = sum(size for pointer, size in storages.items() if pointer not in own)
        (scores.logprobs.sum() + scores.entropies.sum() + values.pow(2).sum()).backward()
        gradients[on] = {name: p.grad for name, p in networks.module.named_parameters()}
        kinds[on] = networks.actor.training, networks.critic.backbone.training
    assert kinds[True] == kinds[False] == (False, False)
    assert memory[True] < 0.4 * memory[False]
    torch.testing.assert_close(gradients[True], gradients[False], rtol=1e-6, atol=1e-7)


def test_layers_are_plain_again_after_training(networks_of: Make, make_settings: Make) -> None:
    networks = networks_of(make_settings(gradient_checkpointing=True))
    layer = networks.actor.base_model.layers[0]
    assert "forward" in layer.__dict__
    networks.finish()
    assert "forward" not in layer.__dict__


def test_a_copy_computes_with_its_own_layers(make_model: Make) -> None:
    model, ids = make_model(initializer_range=0.3), torch.tensor([[8, 9, 10, 11]])
    recompute_layers(model)
    before = model(ids).logits
    copied = copy.deepcopy(model)
    torch.testing.assert_close(copied(ids).logits, before, rtol=0, atol=0)
    with torch.no_grad():
        for layer in copied.model.layers:
            for parameter in layer.parameters():
                parameter.zero_()
    # Layers of zeros add nothing to the residual stream: what is left is embedding, norm and head.
    with torch.no_grad():
        plain = copied.lm_head(copied.model.norm(copied.model.embed_tokens(ids)))
    for context in (nullcontext(), torch.no_grad()):
        with context:
            torch.testing.assert_close(copied(ids).logits, plain)
    torch.testing.assert_close(model(ids).logits, before, rtol=0, atol=0)
    assert (plain - before).abs().max() > 0.1


def test_layers_that_were_left_wrapped_are_plain_in_the_next_run(make_model: Make, make_settings: Make) -> None:
    model = make_model()
    recompute_layers(model)
    networks = make_networks(model, None, make_settings(), device=CPU, longest=24)
    for network in (networks.actor, networks.critic.backbone):
        assert not any("forward" in layer.__dict__ for layer in network.base_model.layers)


def test_checkpointing_needs_layers_that_transformers_knows(make_model: Make) -> None:
    model = make_model()
    model.model.layers = nn.ModuleList()
    with pytest.raises(UserError, match="LlamaForCausalLM has none; set it to false"):
        recompute_layers(model)


def test_bf16_is_of_the_passes_only(networks_of: Make, make_settings: Make) -> None:
    networks = networks_of(make_settings(precision="bf16"))
    dtypes: list[torch.dtype] = []
    networks.actor.base_model.layers[0].mlp.register_forward_hook(lambda *a: dtypes.append(a[2].dtype))
    for context in (networks.computing(), nullcontext()):
        with context:
            scores, _ = networks.module(tokens_of(), 1.0)
        assert scores.logprobs.dtype == torch.float32
    assert dtypes == [torch.bfloat16, torch.float32]
    assert {p.dtype for p in networks.module.parameters()} == {torch.float32}
