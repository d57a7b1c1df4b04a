"""Critics and reward models: read from checkpoints whole, or begun from the actor."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import LlamaForSequenceClassification

from bai_sweep.ppo.networks import ScalarModel, make_networks
from bai_sweep.records import UserError

Make = Callable[..., Any]
CPU = torch.device("cpu")


def test_a_checkpoint_gives_backbone_and_head(reward_model: str) -> None:
    ours = ScalarModel.load(reward_model, torch.float32, CPU)
    theirs = LlamaForSequenceClassification.from_pretrained(reward_model).eval()
    rows = torch.tensor([[8, 9, 10, 1], [11, 12, 0, 0]])  # transformers reads the last token that is not padding
    with torch.no_grad():
        expected = theirs(rows, attention_mask=(rows != 0).long()).logits[:, 0]
        got = ours(rows, torch.arange(2), torch.tensor([3, 1]))
    assert expected.abs().max() > 0.01
    torch.testing.assert_close(got, expected, atol=1e-6, rtol=1e-5)


def test_from_the_actor_a_critic_begins_at_zero_and_shares_no_weight(make_model: Make) -> None:
    actor = make_model()
    critic = ScalarModel.beside(actor)
    values = critic(torch.tensor([[8, 9]]), torch.tensor([0, 0]), torch.tensor([0, 1]))
    assert values.tolist() == [0.0, 0.0]
    ours = {p.data_ptr() for p in critic.parameters()}
    assert not ours & {p.data_ptr() for p in actor.parameters()}


def test_a_causal_model_is_no_critic(make_model: Make, tmp_path: Path) -> None:
    make_model().save_pretrained(tmp_path / "lm")
    with pytest.raises(UserError, match=r"sequence-classification checkpoint with one output; .*LlamaForCausalLM"):
        ScalarModel.load(str(tmp_path / "lm"), torch.float32, CPU)


def test_two_labels_are_no_critic(make_model: Make, tmp_path: Path) -> None:
    config = make_model().config
    config.num_labels = 2
    LlamaForSequenceClassification(config).save_pretrained(tmp_path / "two")
    with pytest.raises(UserError, match="LlamaForSequenceClassification with 2"):
        ScalarModel.load(str(tmp_path / "two"), torch.float32, CPU)


def test_a_critic_reads_all_of_the_actors_tokens(make_model: Make, make_settings: Make, reward_model: str) -> None:
    with pytest.raises(UserError, match=r"knows 22 and the actor 30"):
        make_networks(make_model(vocab_size=30), None, make_settings(critic=reward_model), device=CPU, longest=20)


def test_values_under_autocast_have_the_precision_of_the_head(make_model: Make) -> None:
    critic = ScalarModel.beside(make_model(initializer_range=0.3))
    torch.nn.init.normal_(critic.head.weight, generator=torch.Generator().manual_seed(2))
    hidden: list[torch.Tensor] = []
    critic.backbone.norm.register_forward_hook(lambda *given: hidden.append(given[2]))
    ids, rows = torch.arange(8, 16)[None], torch.zeros(8, dtype=torch.long)
    with torch.autocast("cpu", torch.bfloat16):
        values = critic(ids, rows, torch.arange(8))
    assert values.dtype == torch.float32
    assert (values != values.to(torch.bfloat16)).sum() >= 6
    expected = hidden[0][0].double() @ critic.head.weight[0].double()
    torch.testing.assert_close(values.double(), expected, atol=1e-6, rtol=1e-6)
    (gradient,) = torch.autograd.grad(values.sum(), critic.head.weight)
    torch.testing.assert_close(gradient[0].double(), hidden[0][0].double().sum(0), atol=1e-6, rtol=1e-6)
