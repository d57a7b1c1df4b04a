"""The update on experience made by hand: what goes into the losses, and what the optimizers get."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from bai_sweep.ppo._experience import Experience, Judgement, judge
from bai_sweep.ppo._math import length_mask
from bai_sweep.ppo._networks import Networks
from bai_sweep.ppo._rollout import Rollout
from bai_sweep.ppo._update import Updater

Make = Callable[..., Any]
PROMPTS, RESPONSES = [3, 1, 4, 2], [5, 7, 2, 6]
CHOSEN = torch.tensor([3, 1, 0])


@pytest.fixture
def make_updater(make_model: Make, make_settings: Make) -> Callable[..., tuple[Updater, Experience, Judgement]]:
    """An updater, an experience far from what its networks say now, and what they say now."""

    def make(**changes: Any) -> tuple[Updater, Experience, Judgement]:
        settings = make_settings(batch_size=4, minibatch_size=3, temperature=0.8, **changes)
        networks = Networks.of(make_model(initializer_range=0.3), settings, torch.device("cpu"), 20)
        torch.manual_seed(2)
        networks.critic.head.weight.data.normal_()
        prompts, lengths = torch.tensor(PROMPTS), torch.tensor(RESPONSES)
        mask = length_mask(lengths, max(RESPONSES))
        noise = [torch.randn(mask.shape) for _ in range(4)]
        ids = torch.randint(8, 22, (4, int((prompts + lengths).max())))
        rollout = Rollout(ids, prompts, lengths, lengths > 0, mask, torch.zeros(mask.shape))
        now = judge(networks, rollout, settings)
        old = Judgement(now.logprobs + 0.3 * noise[0], now.reference, now.entropies, now.values + 0.4 * noise[1])
        experience = Experience(rollout, old, torch.zeros(4), torch.zeros(4), 0.5 + noise[2], now.values + noise[3])
        return Updater(networks, settings, torch.Generator().manual_seed(0)), experience, now

    return make


def test_losses_against_numpy(make_updater: Make) -> None:
    updater, experience, now = make_updater(clip_range=0.2, clip_range_value=0.3)
    figures = updater._losses(experience, CHOSEN)
    mask = experience.rollout.mask[CHOSEN]
    new, old, advantages, values, old_values, returns = (
        x[CHOSEN][mask].double().numpy()
        for x in (
            now.logprobs,
            experience.judgement.logprobs,
            experience.advantages,
            now.values,
            experience.judgement.values,
            experience.returns,
        )
    )
    ratio = np.exp(new - old)
    plain, clipped = -advantages * ratio, -advantages * np.clip(ratio, 0.8, 1.2)
    near = old_values + np.clip(values - old_values, -0.3, 0.3)
    expected = {
        "loss/policy_avg": np.maximum(plain, clipped).mean(),
        "loss/value_avg": np.maximum((values - returns) ** 2, (near - returns) ** 2).mean() / 2,
        "policy/approxkl_avg": ((new - old) ** 2).mean() / 2,
        "policy/clipfrac_avg": (clipped > plain).mean(),
        "val/ratio": ratio.mean(),
    }
    assert 0.1 < expected["policy/clipfrac_avg"] < 0.9
    assert ((near - returns) ** 2 > (values - returns) ** 2).mean() > 0.1
    assert figures == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("max_grad_norm", [0.01, 1e9])
def test_the_optimizers_get_clipped_gradients(make_updater: Make, max_grad_norm: float) -> None:
    updater, experience, _ = make_updater(max_grad_norm=max_grad_norm)
    given: dict[str, list[float]] = {"actor": [], "critic": []}

    def listen(name: str, optimizer: torch.optim.Optimizer) -> None:
        def hook(*_: Any) -> None:
            gradients = [p.grad.double() for group in optimizer.param_groups for p in group["params"]]
            given[name].append(float(torch.stack([g.square().sum() for g in gradients]).sum().sqrt()))

        optimizer.register_step_pre_hook(hook)

    listen("actor", updater.actor_optimizer)
    listen("critic", updater.critic_optimizer)
    figures = updater.update(experience, step=1)
    for name, norms in given.items():
        before = figures[f"grad_norm/{name}"]
        assert before > 0.1
        assert len(norms) == 2
        if max_grad_norm < 1:
            assert norms == pytest.approx([max_grad_norm] * 2, rel=1e-4)
        else:
            assert sum(norms) / 2 == pytest.approx(before, rel=1e-5)
