"""When the optimizer steps, and what it leaves alone. Its losses and gradients: test_ppo_whole_step.py."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch

from bai_sweep.ppo._errors import DivergenceError
from bai_sweep.ppo._experience import Experience, Judgement, judge
from bai_sweep.ppo._update import Updater
from bai_sweep.ppo.formulas import length_mask
from bai_sweep.ppo.processes import Processes
from bai_sweep.ppo.rollouts import PASS_TOKENS, Rollout, group_sizes

Make = Callable[..., Any]
PROMPTS, RESPONSES = [3, 1, 4, 2], [5, 7, 2, 6]


@pytest.fixture
def make_updater(networks_of: Make, make_settings: Make) -> Callable[..., tuple[Updater, Experience]]:
    """An updater, and an experience that is far from what its networks say now."""

    def make(**changes: Any) -> tuple[Updater, Experience]:
        settings = make_settings(**{"batch_size": 4, "minibatch_size": 2, "temperature": 0.8, **changes})
        networks = networks_of(settings)
        torch.manual_seed(2)
        prompts, lengths = torch.tensor(PROMPTS), torch.tensor(RESPONSES)
        mask = length_mask(lengths, max(RESPONSES))
        noise = [torch.randn(mask.shape) for _ in range(4)]
        ids = torch.randint(8, 22, (4, int((prompts + lengths).max())))
        rollout = Rollout(ids, prompts, lengths, lengths > 2, mask, torch.zeros(mask.shape))
        now = judge(networks, rollout, settings, Processes())
        old = Judgement(now.logprobs + 0.3 * noise[0], now.reference, now.entropies, now.values + 0.4 * noise[1], {})
        experience = Experience(
            rollout=rollout,
            judgement=old,
            scores=torch.zeros(4),
            penalties={},
            non_score_rewards=torch.zeros(4),
            advantages=0.5 + noise[2],
            returns=now.values + noise[3],
            importance=None,
            learned=mask,
        )
        return Updater(networks, settings, torch.Generator().manual_seed(0), Processes()), experience

    return make


def weights(updater: Updater) -> dict[str, torch.Tensor]:
    return {name: p.detach().clone() for name, p in updater.networks.module.named_parameters()}


def gradients_at_each_step(updater: Updater) -> list[dict[str, float]]:
    """Filled by training: the gradient norms that the optimizer got."""
    norms: list[dict[str, float]] = []

    def listen(*_: Any) -> None:
        groups = zip(("actor", "critic"), updater.optimizer.param_groups, strict=True)
        gradients = {name: [p.grad for p in group["params"] if p.grad is not None] for name, group in groups}
        norms.append({n: float(torch.cat([g.flatten() for g in gs]).norm()) for n, gs in gradients.items() if gs})

    updater.optimizer.register_step_pre_hook(listen)
    return norms


@pytest.mark.parametrize("max_grad_norm", [0.01, 1e9])
def test_each_networks_gradient_is_clipped_on_its_own(make_updater: Make, max_grad_norm: float) -> None:
    updater, experience = make_updater(max_grad_norm=max_grad_norm)
    given = gradients_at_each_step(updater)
    figures = updater.update(experience, step=1)
    assert len(given) == 2
    for name in ("actor", "critic"):
        before, norms = figures[f"grad_norm/{name}"], [step[name] for step in given]
        assert before > 0.1
        if max_grad_norm < 1:
            assert norms == pytest.approx([max_grad_norm] * 2, rel=1e-4)
        else:
            assert sum(norms) / 2 == pytest.approx(before, rel=1e-5)


def test_figures_are_means_over_the_minibatches_and_the_largest_ratio(make_updater: Make) -> None:
    """With a learning rate of (nearly) nothing, the same minibatches can be looked at one by one."""
    rates = {"actor_learning_rate": 1e-30, "critic_learning_rate": 1e-30}
    updater, experience = make_updater(ppo_epochs=2, **rates)
    whole = updater.update(experience, step=1)
    again, _ = make_updater(ppo_epochs=2, **rates)
    generator = torch.Generator().manual_seed(0)
    chosen = [rows for _ in range(2) for rows in torch.randperm(4, generator=generator).split(2)]
    parts = [again._minibatch(experience, rows, rows, step=1, policy=True) for rows in chosen]
    assert whole["val/ratio_max"] == max(part.pop("val/ratio_max") for part in parts)
    for name in parts[0]:
        assert whole[name] == pytest.approx(sum(part[name] for part in parts) / 4, rel=1e-6), name


def test_critic_warmup_leaves_the_actor_bitwise_as_it_was(make_updater: Make) -> None:
    """Also with weight decay, which would change a parameter that has a gradient of zeros."""
    updater, experience = make_updater(critic_warmup_steps=2, steps=4, weight_decay=0.5)
    before = weights(updater)
    for step in (1, 2):
        figures = updater.update(experience, step=step)
        assert figures.keys() == {"loss/value_avg", "grad_norm/critic", "lr", "lr/critic"}
        assert figures["lr"] == 0.0
    after = weights(updater)
    for name in before:
        assert torch.equal(before[name], after[name]) == name.startswith("actor."), name
    assert updater.update(experience, step=3)["lr"] == updater.settings.actor_learning_rate
    assert not torch.equal(
        weights(updater)["actor.model.embed_tokens.weight"], before["actor.model.embed_tokens.weight"]
    )


def test_what_follows_the_warmup_learns_from_its_own_rollouts_only(make_updater: Make) -> None:
    """The actor after warm-up and one step is what it would be had the warm-up seen other rollouts (OpenRLHF#1356)."""

    def actor_after(warmup_advantages: float) -> dict[str, torch.Tensor]:
        updater, experience = make_updater(critic_warmup_steps=2, steps=4)
        for step in (1, 2):
            updater.update(replace(experience, advantages=experience.advantages * warmup_advantages), step=step)
        updater.update(experience, step=3)
        return {name: p for name, p in weights(updater).items() if name.startswith("actor.")}

    plain, other = actor_after(1.0), actor_after(-50.0)
    assert all(torch.equal(plain[name], other[name]) for name in plain)


def test_a_minibatch_without_tokens_to_learn_from_is_passed_over(make_updater: Make) -> None:
    updater, experience = make_updater(minibatch_size=1)
    given = gradients_at_each_step(updater)
    rows = torch.tensor([True, False, True, False])[:, None]
    figures = updater.update(replace(experience, learned=experience.learned & rows), step=1)
    assert len(given) == 2
    assert all(map(torch.isfinite, torch.tensor(list(figures.values()))))
    before = weights(updater)
    nothing = replace(experience, learned=torch.zeros_like(experience.learned))
    assert updater.update(nothing, step=2).keys() == {"lr", "lr/critic"}
    assert all(torch.equal(p, before[name]) for name, p in weights(updater).items())


def test_unlearned_rows_do_not_count_in_their_minibatch(make_updater: Make) -> None:
    """A truncated row beside another changes nothing for it."""
    updater, experience = make_updater(minibatch_size=4, actor_learning_rate=1e-30, critic_learning_rate=1e-30)
    rows = torch.tensor([True, False, True, False])
    half = updater.update(replace(experience, learned=experience.learned & rows[:, None]), step=1)
    other, _ = make_updater(minibatch_size=2)
    alone = other._minibatch(experience, torch.tensor([0, 2]), torch.tensor([0, 2]), step=1, policy=True)
    assert {name: half[name] for name in alone} == pytest.approx(alone, rel=1e-5)


@pytest.mark.parametrize("spoilt", ["advantages", "returns"])
def test_what_is_not_finite_ends_training_before_the_weights_are_touched(make_updater: Make, spoilt: str) -> None:
    updater, experience = make_updater()
    before = weights(updater)
    getattr(experience, spoilt).fill_(float("inf"))
    name = {"advantages": "loss/policy_avg", "returns": "loss/value_avg"}[spoilt]
    with pytest.raises(DivergenceError, match=rf"at step 7: .*{name} = .*(inf|nan)"):
        updater.update(experience, step=7)
    assert all(torch.equal(p, before[name]) for name, p in weights(updater).items())


class TestGroups:
    def test_the_cheapest_of_all_cuts(self) -> None:
        """Against every way to cut the rows, one by one."""
        generator = torch.Generator().manual_seed(0)
        for budget in (None, 400):
            lengths = sorted(torch.randint(1, 300, (9,), generator=generator).tolist(), reverse=True)
            costs = {}
            for cuts in itertools.product([False, True], repeat=8):
                at = [0, *(i + 1 for i, cut in enumerate(cuts) if cut), 9]
                groups = [lengths[a:b] for a, b in itertools.pairwise(at)]
                if budget is None or all(len(g) == 1 or len(g) * g[0] <= budget for g in groups):
                    costs[tuple(map(len, groups))] = sum(len(g) * g[0] + PASS_TOKENS for g in groups)
            assert costs[tuple(group_sizes(lengths, budget))] == min(costs.values())
            assert 1 < len(group_sizes(lengths, budget)) < 9

    def test_a_row_above_the_budget_stands_alone(self) -> None:
        assert group_sizes([500, 20, 20, 20], 60) == [1, 3]

    def test_rows_of_one_length_go_together(self) -> None:
        assert group_sizes([300] * 50, None) == [50]
        assert group_sizes([300] * 50, 3000) == [10] * 5
