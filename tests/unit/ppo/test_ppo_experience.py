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
from bai_sweep.ppo.networks import Networks
from bai_sweep.ppo.processes import Processes
from bai_sweep.ppo.rollouts import Rollout

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
def moved(networks_of: Make, make_settings: Make) -> tuple[Networks, PPOSettings, Rollout]:
    """An actor that has moved from its reference, a critic with a head that is not 0, and a rollout."""
    settings = make_settings(temperature=0.8, batch_size=4, minibatch_size=2, missing_eos_penalty=0.3, kl_coef=0.1)
    networks = networks_of(settings, moved=0.02)
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
    assert rollout.responses() == [[7, 1], [5, 6, 7]]
    tokens, places = rollout.response_tokens(torch.tensor([1]))
    assert tokens.input_ids.tolist() == [[4, 5, 6, 7]]
    assert tokens.positions.tolist() == [0, 1, 2]
    assert tokens.targets.tolist() == [5, 6, 7]
    assert [index.tolist() for index in places] == [[1, 1, 1], [0, 1, 2]]
    assert [group.tolist() for group in rollout.by_length(torch.tensor([1, 0]), budget=5)] == [[0], [1]]
    assert rollout.by_length(torch.tensor([], dtype=torch.long), budget=5) == ()


@pytest.mark.parametrize("budget", [None, 20])
def test_judgement_matches_one_row_at_a_time(
    moved: tuple[Networks, PPOSettings, Rollout], alone: Processes, budget: int | None
) -> None:
    networks, settings, rollout = moved
    judgement = judge(networks, rollout, settings.model_copy(update={"micro_batch_tokens": budget}), alone)
    for i, prompt in enumerate(PROMPTS):
        n = int(rollout.lengths[i])
        row = rollout.input_ids[i : i + 1, : len(prompt) + n]
        where, targets = slice(len(prompt) - 1, len(prompt) - 1 + n), row[0, len(prompt) :]
        with torch.no_grad():
            tables = [
                m(row).logits[0, where].double() / settings.temperature
                for m in (networks.actor, networks.reference.model)
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
def test_experience_against_numpy(
    moved: tuple[Networks, PPOSettings, Rollout], alone: Processes, estimator: str, whiten: bool
) -> None:
    networks, settings, rollout = moved
    switches = {"kl_estimator": estimator, "whitening": "mean_std" if whiten else "none"}
    settings = settings.model_copy(update={"gamma": 0.9, "gae_lambda": 0.7, **switches})
    judgement, scores = judge(networks, rollout, settings, alone), torch.tensor([1.0, -0.5, 2.0, 0.0])
    experience = experience_of(rollout, judgement, scores, settings, 0.1)

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


def test_a_cut_off_response_is_judged_but_not_learned_from(
    moved: tuple[Networks, PPOSettings, Rollout], alone: Processes
) -> None:
    networks, settings, rollout = moved
    settings = settings.model_copy(update={"mask_truncated": True})
    scores = torch.tensor([1.0, -0.5, 2.0, 0.0])
    experience = experience_of(rollout, judge(networks, rollout, settings, alone), scores, settings, 0.1)
    assert torch.equal(experience.learned, rollout.mask & rollout.ended[:, None])
    whitened = experience.advantages[experience.learned].double().numpy()
    assert whitened.mean() == pytest.approx(0.0, abs=1e-6)
    assert whitened.std(ddof=1) == pytest.approx(1.0, abs=1e-5)
    assert not experience.advantages[~experience.learned].any()
    assert experience.returns[rollout.mask & ~experience.learned].abs().min() > 0


def test_the_controllers_coefficient_is_what_counts(
    moved: tuple[Networks, PPOSettings, Rollout], alone: Processes
) -> None:
    networks, settings, rollout = moved
    judgement, scores = judge(networks, rollout, settings, alone), torch.zeros(4)
    k1 = (judgement.logprobs - judgement.reference).double().sum(1)
    for coef in (0.0, 0.4):
        others = experience_of(rollout, judgement, scores, settings, coef).non_score_rewards.double()
        torch.testing.assert_close(others, -coef * k1 - 0.3 * ~rollout.ended, atol=1e-6, rtol=0)


def test_attention_is_given_back_as_it_was(networks_of: Make, make_settings: Make) -> None:
    networks = networks_of(make_settings())
    before = networks.actor.config._attn_implementation
    with networks.computing():
        assert networks.actor.config._attn_implementation == "eager"
    assert networks.actor.config._attn_implementation == before == "sdpa"


def test_a_pass_that_counts_for_nothing_changes_nothing(
    moved: tuple[Networks, PPOSettings, Rollout], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process with fewer groups than another runs its first row again, so that all are called equally often."""
    networks, settings, rollout = moved
    expected = judge(networks, rollout, settings, Processes())

    def with_spare(self: Networks, groups: Any, spare: Any, processes: Processes) -> Any:
        yield from ((group, True) for group in groups)
        networks.critic.head.weight.data.mul_(2)  # so that one would see what the next pass says
        yield spare, False

    monkeypatch.setattr(Networks, "passes", with_spare)
    torch.testing.assert_close(judge(networks, rollout, settings, Processes()).values, expected.values, rtol=0, atol=0)
