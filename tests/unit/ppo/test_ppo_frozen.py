"""What is trained and what stays as it is, whoever shares weights with whom; and that every network fits the rows."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from transformers import LlamaForCausalLM, LlamaForSequenceClassification, PreTrainedTokenizerFast

from bai_sweep.ppo import PPOTrainer
from bai_sweep.ppo.networks import Networks, ScalarModel, make_networks
from bai_sweep.records import UserError
from tests.unit.ppo import rewards
from tests.unit.ppo.conftest import tiny_config
from tests.unit.ppo.test_ppo_trainer import ROWS, config

Make = Callable[..., Any]
CPU = torch.device("cpu")
LORA = {"r": 4, "alpha": 8.0, "target_modules": "all-linear"}


@pytest.fixture
def trainer(make_model: Make, tokenizer: PreTrainedTokenizerFast) -> Callable[..., PPOTrainer]:
    def make(model: Any, **more: Any) -> PPOTrainer:
        args = config(**more.pop("settings", {}))
        return PPOTrainer(model, rewards.share_of_a, args, ROWS, tokenizer, **more)

    return make


@pytest.fixture
def networks(make_settings: Make) -> Callable[..., Networks]:
    def make(model: Any, critic: Any = None, *, settings: Any = None, **more: Any) -> Networks:
        return make_networks(model, critic, make_settings(**(settings or {})), device=CPU, longest=24, **more)

    return make


def scalar(seed: int = 3, **changes: Any) -> LlamaForSequenceClassification:
    torch.manual_seed(seed)
    return LlamaForSequenceClassification(tiny_config(num_labels=1, **changes)).eval()


def weights(module: nn.Module) -> dict[str, torch.Tensor]:
    return {name: p.detach().clone() for name, p in module.named_parameters()}


def moved(module: nn.Module, before: dict[str, torch.Tensor]) -> set[str]:
    return {name for name, p in module.named_parameters() if not torch.equal(p, before[name])}


@pytest.mark.parametrize("settings", [{}, {"lora": LORA}], ids=["all", "lora"])
def test_the_actor_as_a_probe_is_the_actor_as_it_was(trainer: Make, make_model: Make, settings: Any) -> None:
    model = make_model()
    telemetry = trainer(model, probes={"init": model}, settings={**settings, "steps": 4}).train()
    for record in telemetry:
        assert record.metrics["objective/kl_to/init"] == pytest.approx(record.metrics["objective/kl"], abs=1e-6)
    assert abs(telemetry[-1].metrics["objective/kl"]) > 1e-3


def test_a_probe_with_some_of_the_actors_weights_does_not_learn(trainer: Make, make_model: Make) -> None:
    model, probe = make_model(), make_model(seed=9)
    probe.model.layers[0] = model.model.layers[0]
    before = weights(model)
    made = trainer(model, probes={"other": probe})
    kept = weights(made.networks.probes["other"])
    made.train()
    assert moved(model, before) == set(before)
    assert not moved(made.networks.probes["other"], kept)


@pytest.mark.parametrize("role", ["ref_model", "probe"])
def test_a_critic_that_shares_weights_with_a_frozen_policy_is_a_copy(
    trainer: Make, make_model: Make, role: str
) -> None:
    policy, value_model = make_model(seed=9), scalar()
    policy.model = value_model.model
    policy.tie_weights()
    before = weights(policy)
    more = {"ref_model": policy} if role == "ref_model" else {"probes": {"other": policy}}
    made = trainer(make_model(), value_model=value_model, **more)
    critic = weights(made.networks.critic)
    made.train()
    assert not moved(policy, before)
    assert moved(made.networks.critic, critic) == set(critic)


def test_weights_that_the_user_froze_stay_frozen(trainer: Make, make_model: Make) -> None:
    model = make_model()
    model.model.layers[0].requires_grad_(False)
    frozen = {name for name, p in model.named_parameters() if not p.requires_grad}
    before = weights(model)
    made = trainer(model)
    critic = weights(made.networks.critic)
    made.train()
    assert moved(model, before) == set(before) - frozen
    assert {f"model.{name.removeprefix('backbone.')}" for name in critic} - {
        f"model.{name.removeprefix('backbone.')}" for name in moved(made.networks.critic, critic)
    } == frozen


def test_a_value_model_with_a_frozen_backbone_trains_its_head(trainer: Make, make_model: Make) -> None:
    value_model = scalar()
    value_model.model.requires_grad_(False)
    made = trainer(make_model(), value_model=value_model)
    before = weights(made.networks.critic)
    made.train()
    assert moved(made.networks.critic, before) == {"head.weight"}


def test_there_is_something_to_train(trainer: Make, make_model: Make, networks: Make) -> None:
    with pytest.raises(UserError, match=r"the actor has weights to train; all 20 parameters .*requires_grad_\(True\)"):
        trainer(make_model().requires_grad_(False))
    with pytest.raises(UserError, match=r"the critic has weights to train; all 21 parameters"):
        trainer(make_model(), value_model=scalar().requires_grad_(False))
    with_adapter = networks(make_model().requires_grad_(False), settings={"lora": LORA})
    assert len(with_adapter.actor_parameters()) == 2 * 2 * 7


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_trained_weights_of_16_bits_are_warned_of_once(
    networks: Make, make_model: Make, caplog: pytest.LogCaptureFixture, dtype: torch.dtype
) -> None:
    with caplog.at_level(logging.WARNING):
        networks(make_model().to(dtype))
    (said,) = [record.getMessage() for record in caplog.records]
    kind, over = {torch.bfloat16: ("bfloat16", 0.512), torch.float16: ("float16", 4.096)}[dtype]
    lost = f"trains {kind} weights: an update of 0.001 is lost in those over {over}; "
    assert said == (
        f"the actor {lost}the critic {lost}load with dtype=torch.float32; rl.precision says what is computed in"
    )
    weight = torch.tensor(over, dtype=torch.float64) * torch.tensor([1.01, 0.25], dtype=torch.float64)
    assert (weight.to(dtype).add(1e-3) == weight.to(dtype)).tolist() == [True, False]


def test_frozen_weights_of_16_bits_are_not_warned_of(
    networks: Make, make_model: Make, caplog: pytest.LogCaptureFixture
) -> None:
    half = make_model().to(torch.bfloat16)
    with caplog.at_level(logging.WARNING):
        networks(make_model(), reference=half, probes={"half": half})
    assert not caplog.records


@pytest.mark.parametrize("role", ["critic", "reference", "probe"])
def test_rows_must_fit_every_network(networks: Make, make_model: Make, role: str) -> None:
    def made(positions: int) -> Networks:
        short: LlamaForCausalLM = make_model(max_position_embeddings=positions)
        more: dict[str, Any] = {
            "critic": {"critic": ScalarModel.of(scalar(max_position_embeddings=positions))},
            "reference": {"reference": short},
            "probe": {"probes": {"old": short}},
        }[role]
        return networks(make_model(), **more)

    name = {"critic": "critic", "reference": "reference", "probe": "probe old"}[role]
    with pytest.raises(UserError, match=f"fit in the {name}'s 23 positions; .* make 24; lower rl.max_new_tokens"):
        made(23)
    made(24)
