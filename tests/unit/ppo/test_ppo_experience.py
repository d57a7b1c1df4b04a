"""Rollouts and what is made of them, against row-by-row float64 computation without padding or batches."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from transformers import LlamaForCausalLM

from bai_sweep.config import PPOSettings
from bai_sweep.generation import Samples, sample
from bai_sweep.ppo._experience import experience_of, judge
from bai_sweep.ppo._networks import Networks
from bai_sweep.ppo._rollout import Rollout
from bai_sweep.ppo._telemetry import describe

PROMPTS = [[8, 9, 10], [11], [12, 13, 14, 15, 16], [9, 9]]
Make = Callable[..., Any]


def collect(model: LlamaForCausalLM, settings: PPOSettings) -> Rollout:
    drawn = sample(
        model,
        PROMPTS,
        max_new_tokens=settings.max_new_tokens,
        temperature=settings.temperature,
        eos_token_ids=[1, 2, 3],
        generator=torch.Generator().manual_seed(4),
    )
    return Rollout.of(PROMPTS, drawn)


@pytest.fixture
def moved(make_model: Make, make_settings: Make) -> tuple[Networks, PPOSettings, Rollout]:
    """An actor that has moved from its reference, a critic with a head that is not 0, and a rollout."""
    settings = make_settings(temperature=0.8, batch_size=4, minibatch_size=2, missing_eos_penalty=0.3, kl_coef=0.1)
    networks = Networks.of(make_model(initializer_range=0.3), settings, torch.device("cpu"), 20)
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in networks.actor.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.02)
        networks.critic.head.weight.normal_()
    rollout = collect(networks.actor, settings)
    assert 0 < int(rollout.ended.sum()) < len(PROMPTS), "the seed should give both kinds of rows"
    return networks, settings, rollout


def test_rollouts_join_prompts_and_responses() -> None:
    samples = Samples(
        tokens=torch.tensor([[7, 1, 0], [5, 6, 7]]),
        logprobs=torch.tensor([[-1.0, -2.0, 0.0], [-3.0, -4.0, -5.0]]),
        lengths=torch.tensor([2, 3]),
        ended=torch.tensor([True, False]),
    )
    rollout = Rollout.of([[9, 8, 7], [4]], samples)
    assert rollout.input_ids.tolist() == [[9, 8, 7, 7, 1], [4, 5, 6, 7, 0]]
    assert rollout.mask.tolist() == [[True, True, False], [True, True, True]]
    tokens = rollout.response_tokens(torch.tensor([1]))
    assert tokens.input_ids.tolist() == [[4, 5, 6, 7]]
    assert tokens.positions.tolist() == [0, 1, 2]
    assert tokens.targets.tolist() == [5, 6, 7]
    assert [group.tolist() for group in rollout.by_length(1)] == [[0], [1]]


def test_judgement_matches_one_row_at_a_time(moved: tuple[Networks, PPOSettings, Rollout]) -> None:
    networks, settings, rollout = moved
    judgement = judge(networks, rollout, settings)
    for i, prompt in enumerate(PROMPTS):
        n = int(rollout.lengths[i])
        row = rollout.input_ids[i : i + 1, : len(prompt) + n]
        where, targets = slice(len(prompt) - 1, len(prompt) - 1 + n), row[0, len(prompt) :]
        with torch.no_grad():
            tables = [
                m(row).logits[0, where].double() / settings.temperature for m in (networks.actor, networks.reference)
            ]
            values = networks.critic.head(networks.critic.backbone(row).last_hidden_state)[0, where, 0]
        policy, reference = (t.log_softmax(-1) for t in tables)
        for got, expected in (
            (judgement.logprobs, policy[torch.arange(n), targets]),
            (judgement.reference, reference[torch.arange(n), targets]),
            (judgement.entropies, -(policy.exp() * policy).sum(-1)),
            (judgement.values, values.double()),
        ):
            torch.testing.assert_close(got[i, :n].double(), expected, atol=2e-5, rtol=0)
            assert not got[i, n:].any()
    torch.testing.assert_close(judgement.logprobs, rollout.sampled_logprobs, atol=2e-5, rtol=0)
    assert (judgement.logprobs - judgement.reference)[rollout.mask].abs().max() > 0.01


@pytest.mark.parametrize("whiten", [True, False])
@pytest.mark.parametrize("estimator", ["k1", "k3"])
def test_experience_against_numpy(moved: tuple[Networks, PPOSettings, Rollout], estimator: str, whiten: bool) -> None:
    networks, settings, rollout = moved
    settings = settings.model_copy(
        update={"kl_estimator": estimator, "whiten_advantages": whiten, "gamma": 0.9, "gae_lambda": 0.7}
    )
    judgement, scores = judge(networks, rollout, settings), torch.tensor([1.0, -0.5, 2.0, 0.0])
    experience = experience_of(rollout, judgement, scores, settings)

    rows, others = [], []
    for i, n in enumerate(rollout.lengths.tolist()):
        p, q, v = (x[i, :n].double().numpy() for x in (judgement.logprobs, judgement.reference, judgement.values))
        kl = p - q if estimator == "k1" else np.exp(q - p) - 1 - (q - p)
        rewards = -0.1 * kl
        penalty = 0.0 if rollout.ended[i] else 0.3
        rewards[-1] += scores[i].item() - penalty
        others.append(-0.1 * kl.sum() - penalty)
        following = np.append(v[1:], 0.0)
        delta = rewards + 0.9 * following - v
        rows.append([sum(0.63**k * delta[t + k] for k in range(n - t)) for t in range(n)])
    advantages = np.concatenate(rows)
    returns = advantages + judgement.values[rollout.mask].double().numpy()
    if whiten:
        advantages = (advantages - advantages.mean()) / np.sqrt(advantages.var(ddof=1) + 1e-8)
    np.testing.assert_allclose(experience.advantages[rollout.mask].numpy(), advantages, atol=5e-6)
    np.testing.assert_allclose(experience.returns[rollout.mask].numpy(), returns, atol=5e-6)
    np.testing.assert_allclose(experience.non_score_rewards.numpy(), others, atol=5e-6)
    assert not experience.advantages[~rollout.mask].any()


def test_telemetry_of_a_batch(moved: tuple[Networks, PPOSettings, Rollout]) -> None:
    networks, settings, rollout = moved
    judgement, scores = judge(networks, rollout, settings), torch.tensor([1.0, -0.5, 2.0, 0.0])
    figures = describe(experience_of(rollout, judgement, scores, settings))
    difference = (judgement.logprobs - judgement.reference).double()
    k3 = (torch.exp(-difference) - 1 + difference) * rollout.mask
    lengths, ended = rollout.lengths.numpy(), rollout.ended.numpy()
    expected = {
        "objective/kl": difference.sum(1).mean().item(),
        "objective/kl_k3": k3.sum(1).mean().item(),
        "objective/entropy": judgement.entropies.double().sum(1).mean().item(),
        "objective/scores": 0.625,
        "objective/scores_std": np.std([1.0, -0.5, 2.0, 0.0], ddof=1),
        "objective/non_score_reward": -0.1 * difference.sum(1).mean().item() - 0.3 * (~ended).mean(),
        "completions/mean_length": lengths.mean(),
        "completions/min_length": lengths.min(),
        "completions/max_length": lengths.max(),
        "completions/clipped_ratio": (~ended).mean(),
        "completions/mean_terminated_length": lengths[ended].mean(),
    }
    assert {name: figures[name] for name in expected} == pytest.approx(expected, abs=1e-5)
    total = figures["objective/scores"] + figures["objective/non_score_reward"]
    assert figures["objective/rlhf_reward"] == pytest.approx(total, abs=1e-12)


def test_attention_is_given_back_as_it_was(make_model: Make, make_settings: Make) -> None:
    model = make_model()
    networks = Networks.of(model, make_settings(), torch.device("cpu"), 20)
    before = model.config._attn_implementation
    with networks.computing():
        assert model.config._attn_implementation == "eager"
    assert model.config._attn_implementation == before == "sdpa"
