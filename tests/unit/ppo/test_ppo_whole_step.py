"""One optimizer step as the trainer takes it, against plain autograd in float64: no padding, no chunks, full logits.

The fixed batch has responses of different lengths, one of a single token and one that was cut off; between rollout and
update both networks move, so that clips bind. What comes before the losses is `reference.py`'s.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from bai_sweep.config import PPOSettings
from bai_sweep.ppo._experience import experience_of, judge
from bai_sweep.ppo._update import Updater
from bai_sweep.ppo.networks import Networks, make_critic, make_networks
from bai_sweep.ppo.processes import Processes
from bai_sweep.ppo.rollouts import Rollout, _rollout
from tests.unit.ppo import reference as ref

Make = Callable[..., Any]
PROMPTS, LENGTHS = [3, 1, 4, 2, 5, 2], [5, 9, 1, 7, 3, 9]
ENDED = [True, False, True, True, True, True]
SCORES = [1.0, -0.5, 0.75, -1.25, 2.0, 0.25]
LONGEST, ROWS = max(LENGTHS), range(len(LENGTHS))
PLAIN = {
    "batch_size": 6,
    "minibatch_size": 6,
    "max_new_tokens": LONGEST,
    "temperature": 0.8,
    "max_grad_norm": 1e9,
    "kl_coef": 0.05,
}
KL_LOSSES = {f"kl_loss_{k}": {"kl_loss_coef": 0.3, "kl_loss_estimator": k} for k in ("k1", "k2", "k3", "abs")}
CORRECTIONS = {
    name: {"importance_correction": name, "importance_cap": 1.1}
    for name in ("token_truncate", "token_mask", "sequence_truncate", "sequence_mask")
}
CASES: dict[str, dict[str, Any]] = {
    "sequence": {"loss_aggregation": "sequence"},
    "constant": {"loss_aggregation": "constant"},
    "dual_clip": {"dual_clip": 1.1},
    "clip_higher": {"clip_range_low": 0.05, "clip_range_high": 0.4},
    "entropy": {"entropy_coef": 0.05},
    **KL_LOSSES,
    "kl_reward_k3": {"kl_estimator": "k3", "kl_coef": 0.3},
    "positive_nll": {"positive_nll_coef": 0.1, "positive_score": 0.3},
    "mask_truncated": {"mask_truncated": True},
    "mask_truncated_constant": {"mask_truncated": True, "loss_aggregation": "constant", "positive_nll_coef": 0.1},
    **CORRECTIONS,
    "decoupled_lambda": {"gae_lambda_critic": 1.0},
    "length_adaptive_lambda": {"gae_length_alpha": 0.3, "gamma": 0.97},
    "no_value_clip": {"clip_range_value": None},
    "not_whitened": {"whitening": "none"},
    "whitened_around_the_mean": {"whitening": "std"},
    "penalties": {"missing_eos_penalty": 0.7, "overlong_buffer": 4, "overlong_penalty": 0.5},
}


@dataclass
class Case:
    """A rollout, its experience, and the networks, which have moved since."""

    settings: PPOSettings
    networks: Networks
    rollout: Rollout
    old: Networks

    def experience(self) -> Any:
        judgement = judge(self.old, self.rollout, self.settings, Processes())
        scores = torch.tensor(SCORES)
        return experience_of(self.rollout, judgement, scores, self.settings, self.settings.kl_coef)

    def step(self) -> tuple[dict[str, float], dict[str, Tensor]]:
        """Figures and gradients of the trainer's own step."""
        updater = Updater(self.networks, self.settings, torch.Generator().manual_seed(0), Processes())
        gradients: dict[str, Tensor] = {}

        def keep(*_: Any) -> None:
            gradients.update(
                (n, p.grad.clone()) for n, p in self.networks.module.named_parameters() if p.requires_grad
            )

        updater.optimizer.register_step_pre_hook(keep)
        return updater.update(self.experience(), step=1), gradients


@pytest.fixture(scope="module")
def make_case(make_model: Make, make_settings: Make) -> Callable[..., Case]:
    def make(**changes: Any) -> Case:
        settings = make_settings(**(PLAIN | changes))
        actor = make_model(initializer_range=0.3, num_hidden_layers=1).double()
        reference, critic = copy.deepcopy(actor), make_critic(actor, None, torch.device("cpu"))
        torch.manual_seed(1)
        critic.head.weight.data.normal_(std=0.3)
        shake(reference, 0.05)

        def networks() -> Networks:
            pair = copy.deepcopy(actor), copy.deepcopy(critic)
            made = make_networks(
                *pair, settings, device=torch.device("cpu"), longest=20, reference=copy.deepcopy(reference)
            )
            # Long rows attend by SDPA, in float64; the eager attention of short ones has its softmax in fp32.
            return replace(made, longest=10**4)

        old = networks()
        ids = torch.randint(8, 22, (len(LENGTHS), max(p + n for p, n in zip(PROMPTS, LENGTHS, strict=True))))
        lengths, ended = torch.tensor(LENGTHS), torch.tensor(ENDED)
        mask = torch.arange(LONGEST) < lengths[:, None]
        rollout = Rollout(ids, torch.tensor(PROMPTS), lengths, ended, mask, torch.zeros(mask.shape))
        sampled = [
            logprobs.detach() + 0.1 * torch.randn(len(logprobs)) for logprobs, _ in said(old.actor, rollout, 0.8)
        ]
        for i in ROWS:
            rollout.sampled_logprobs[i, : LENGTHS[i]] = sampled[i].float()
        shake(actor, 0.012)
        shake(critic, 0.02)
        return Case(settings, networks(), rollout, old)

    return make


@pytest.fixture(scope="module")
def plain(make_case: Make) -> dict[str, Tensor]:
    """The gradients with no switch touched."""
    return expected(make_case())[1]


def shake(module: nn.Module, by: float) -> None:
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=by)


def said(model: nn.Module, rollout: Rollout, temperature: float) -> list[tuple[Tensor, Tensor]]:
    """Log-probabilities and entropies of each response's tokens, one row at a time from the full logits."""
    out = []
    for i in ROWS:
        row = rollout.input_ids[i, : PROMPTS[i] + LENGTHS[i]]
        table = (model(row[None]).logits[0] / temperature).log_softmax(-1)[PROMPTS[i] - 1 : -1]
        out.append((table[torch.arange(LENGTHS[i]), row[PROMPTS[i] :]], -(table.exp() * table).sum(-1)))
    return out


def valued(critic: Any, rollout: Rollout) -> list[Tensor]:
    out = []
    for i in ROWS:
        row = rollout.input_ids[i, : PROMPTS[i] + LENGTHS[i]]
        hidden = critic.backbone(row[None]).last_hidden_state[0, PROMPTS[i] - 1 : -1]
        out.append(critic.head(hidden)[:, 0])
    return out


def expected(case: Case) -> tuple[dict[str, float], dict[str, Tensor]]:
    """Figures and gradients by plain autograd."""
    s, rollout = case.settings, case.rollout
    with torch.no_grad():
        old = [row.tolist() for row, _ in said(case.old.actor, rollout, s.temperature)]
        referenced = [row.tolist() for row, _ in said(case.old.reference.model, rollout, s.temperature)]
        old_values = [row.tolist() for row in valued(case.old.critic, rollout)]
    advantages, returns = learned_from(s, old, referenced, old_values)
    trained = [ended or not s.mask_truncated for ended in ENDED]
    positive = [train and score > s.positive_score for train, score in zip(trained, SCORES, strict=True)]
    sampled = [rollout.sampled_logprobs[i, : LENGTHS[i]].tolist() for i in ROWS]
    scale = ref.importance(old, sampled, s.importance_correction, s.importance_cap)

    actor, critic = copy.deepcopy(case.networks.actor), copy.deepcopy(case.networks.critic)
    now = said(actor, rollout, s.temperature)
    values = valued(critic, rollout)
    ratios = [(row - torch.tensor(o, dtype=row.dtype)).exp() for (row, _), o in zip(now, old, strict=True)]
    surrogates = [surrogate(*row, s) for row in zip(ratios, advantages, strict=True)]
    parts = {
        "policy": total([torch.tensor(w) * x for w, x in zip(scale, surrogates, strict=True)], trained, s),
        "kl": total([estimate(a, b, s.kl_loss_estimator) for (a, _), b in pairs(now, referenced)], trained, s),
        "nll": total([-row for row, _ in now], positive, s),
        "entropy": total([entropy for _, entropy in now], trained, s),
        "value": total([squared(*row, s.clip_range_value) for row in pairs(values, old_values, returns)], trained, s),
    }
    loss = parts["policy"] + s.kl_loss_coef * parts["kl"] + s.positive_nll_coef * parts["nll"]
    (loss - s.entropy_coef * parts["entropy"]).backward()
    parts["value"].backward()
    gradients = {f"actor.{n}": p.grad for n, p in actor.named_parameters()}
    gradients |= {f"critic.{n}": p.grad for n, p in critic.named_parameters()}
    figures = {f"loss/{name}_avg": part.item() for name, part in parts.items()}
    tokens = [i for i in ROWS if trained[i]]
    flat_ratios = torch.cat([ratios[i] for i in tokens]).detach().numpy()
    return figures | statistics(flat_ratios, np.concatenate([advantages[i] for i in tokens]), s), gradients


def pairs(*columns: Any) -> Any:
    return zip(*columns, strict=True)


def learned_from(
    s: PPOSettings, old: ref.Rows, referenced: ref.Rows, old_values: ref.Rows
) -> tuple[ref.Rows, ref.Rows]:
    """Whitened advantages, and returns."""
    penalties = [
        s.missing_eos_penalty * (not ended)
        + (ref.overlong(n, LONGEST, s.overlong_buffer, s.overlong_penalty) if s.overlong_penalty else 0.0)
        for ended, n in zip(ENDED, LENGTHS, strict=True)
    ]
    kl = [[ref.kl_token(*ab, s.kl_estimator)[0] for ab in pairs(*row)] for row in pairs(old, referenced)]
    rewards = ref.rewards([a - b for a, b in zip(SCORES, penalties, strict=True)], kl, s.kl_coef)
    alpha = s.gae_length_alpha
    lambdas = [s.gae_lambda if alpha is None else ref.adaptive_lambda(n, alpha) for n in LENGTHS]
    critics = lambdas if s.gae_lambda_critic is None else [s.gae_lambda_critic] * len(LENGTHS)
    advantages, _ = ref.gae(rewards, old_values, s.gamma, lambdas)
    _, returns = ref.gae(rewards, old_values, s.gamma, critics)
    kept = [row for row, ended in zip(advantages, ENDED, strict=True) if ended or not s.mask_truncated]
    whitened = iter(ref.whitened(kept, s.whitening))
    learned = [next(whitened) if row in kept else row for row in advantages]
    return learned, returns


def surrogate(ratio: Tensor, advantages: list[float], s: PPOSettings) -> Tensor:
    """minus min(A rho, A clip(rho)), and for A < 0 at least dual_clip * A."""
    a = torch.tensor(advantages, dtype=ratio.dtype)
    objective = torch.minimum(a * ratio, a * ratio.clamp(1 - s.clip_range_low, 1 + s.clip_range_high))
    if s.dual_clip is not None:
        objective = torch.where(a < 0, torch.maximum(objective, s.dual_clip * a), objective)
    return -objective


def estimate(logprobs: Tensor, reference: list[float], estimator: str) -> Tensor:
    r = logprobs - torch.tensor(reference, dtype=logprobs.dtype)
    return {"k1": r, "k2": r**2 / 2, "k3": (-r).exp() - 1 + r, "abs": r.abs()}[estimator]


def squared(values: Tensor, old: list[float], returns: list[float], clip: float | None) -> Tensor:
    was, target = torch.tensor(old, dtype=values.dtype), torch.tensor(returns, dtype=values.dtype)
    plain = (values - target) ** 2
    if clip is None:
        return plain / 2
    return torch.maximum(plain, (was + (values - was).clamp(-clip, clip) - target) ** 2) / 2


def total(terms: list[Tensor], trained: list[bool], s: PPOSettings) -> Tensor:
    """The three aggregations, over the rows that count."""
    kept = [row for row, train in zip(terms, trained, strict=True) if train]
    if s.loss_aggregation == "token":
        return torch.cat(kept).mean()
    if s.loss_aggregation == "sequence":
        return torch.stack([row.mean() for row in kept]).mean()
    return torch.stack([row.sum() for row in kept]).sum() / (len(terms) * s.max_new_tokens)


def statistics(ratios: Any, advantages: Any, s: PPOSettings) -> dict[str, float]:
    """Means over tokens, however the loss aggregates."""
    low = (advantages < 0) & (ratios < 1 - s.clip_range_low)
    high = (advantages > 0) & (ratios > 1 + s.clip_range_high)
    dual = (advantages < 0) & (ratios > (s.dual_clip or math.inf))
    assert low.any()
    assert high.any()
    assert dual.any() == (s.dual_clip is not None)
    return {
        "policy/approxkl_avg": np.mean(np.log(ratios) ** 2) / 2,
        "policy/clipfrac_low": low.mean(),
        "policy/clipfrac_high": high.mean(),
        "policy/clipfrac_avg": (low | high | dual).mean(),
        "val/ratio": ratios.mean(),
        "val/ratio_max": ratios.max(),
    }


def norm_of(gradients: dict[str, Tensor], part: str) -> float:
    return math.sqrt(sum(float(g.square().sum()) for name, g in gradients.items() if name.startswith(part)))


def assert_equal_gradients(got: dict[str, Tensor], gradients: dict[str, Tensor]) -> None:
    assert got.keys() == gradients.keys()
    for name, gradient in gradients.items():
        torch.testing.assert_close(got[name], gradient, atol=1e-6, rtol=1e-6, msg=lambda m, n=name: f"{n}: {m}")


@pytest.mark.parametrize("name", ["plain", *CASES])
def test_gradients_and_figures_of_a_step(make_case: Make, plain: dict[str, Tensor], name: str) -> None:
    case = make_case(**CASES.get(name, {}))
    figures, gradients = expected(case)
    if name != "plain":  # else the test could not tell whether the switch is obeyed
        assert max(float((plain[n] - gradients[n]).abs().max()) for n in plain) > 1e-4
    got, got_gradients = case.step()
    assert_equal_gradients(got_gradients, gradients)
    switched = {"kl": "kl_loss_coef", "nll": "positive_nll_coef", "entropy": "entropy_coef"}
    absent = {f"loss/{part}_avg" for part, coef in switched.items() if getattr(case.settings, coef) == 0.0}
    assert absent.isdisjoint(got)
    wanted = {metric: value for metric, value in figures.items() if metric not in absent}
    assert {metric: got[metric] for metric in wanted} == pytest.approx(wanted, abs=1e-6)
    for part in ("actor", "critic"):
        assert got[f"grad_norm/{part}"] == pytest.approx(norm_of(gradients, part), rel=1e-6)


@pytest.mark.parametrize("name", ["plain", "sequence", "constant", "mask_truncated", "positive_nll", "entropy"])
@pytest.mark.parametrize("passes", ["by budget", "a row each"])
def test_however_a_minibatch_is_cut(make_case: Make, monkeypatch: pytest.MonkeyPatch, name: str, passes: str) -> None:
    monkeypatch.setattr(_rollout, "PASS_TOKENS", {"by budget": 10**9, "a row each": -10}[passes])
    case = make_case(**CASES.get(name, {}), micro_batch_tokens=22 if passes == "by budget" else None)
    groups = len(case.rollout.by_length(torch.arange(6), case.settings.micro_batch_tokens))
    assert groups == {"by budget": 3, "a row each": 6}[passes]
    figures, gradients = expected(case)
    got, got_gradients = case.step()
    assert_equal_gradients(got_gradients, gradients)
    assert got["loss/policy_avg"] == pytest.approx(figures["loss/policy_avg"], abs=1e-6)
    assert got["val/ratio_max"] == pytest.approx(figures["val/ratio_max"], abs=1e-6)
