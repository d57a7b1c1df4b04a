"""Every formula of PPO, and all of them in a row, against `reference.py` on one fixed ragged batch, to 1e-6.

The batch has a response of one token, two of full length of which one was cut off, and tokens at every clip.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from bai_sweep.ppo.formulas import (
    KLController,
    aggregation_weights,
    explained_variance,
    generalized_advantages,
    importance_weights,
    kl_estimate,
    length_adaptive_lambda,
    length_mask,
    overlong_penalty,
    policy_loss,
    token_rewards,
    value_loss,
    whiten,
)
from tests.unit.ppo import reference as ref

LENGTHS = [5, 9, 1, 7, 3, 9]
LONGEST = 9
TRUNCATED = 1  # the row that the length limit cut off
TIGHT: dict[str, Any] = {"atol": 1e-6, "rtol": 1e-6}

ESTIMATORS = ["k1", "k2", "k3", "abs"]
AGGREGATIONS = ["token", "sequence", "constant"]
CORRECTIONS = ["none", "token_truncate", "token_mask", "sequence_truncate", "sequence_mask"]
WHITENINGS = ["none", "mean_std", "std"]
CLIPS = [
    ref.Clip(0.2, 0.2, None),
    ref.Clip(0.2, 0.28, None),
    ref.Clip(0.1, 0.4, 1.7),
    ref.Clip(0.2, 0.28, 1.1),  # a dual clip below the upper one
]
CAP = 1.25


def padded(rows: ref.Rows, rubbish: float = 1e6) -> Tensor:
    """Rows as a float64 tensor with rubbish right of them: what reads it is found out."""
    return torch.tensor([row + [rubbish] * (LONGEST - len(row)) for row in rows], dtype=torch.float64)


def ragged(tensor: Tensor) -> ref.Rows:
    return [row[:n] for row, n in zip(tensor.tolist(), LENGTHS, strict=True)]


def flat(rows: ref.Rows) -> list[float]:
    return [token for row in rows for token in row]


def mapped(function: Callable[..., Any], *columns: ref.Rows) -> list[list[Any]]:
    return [[function(*tokens) for tokens in zip(*rows, strict=True)] for rows in zip(*columns, strict=True)]


@dataclass(frozen=True)
class Batch:
    scores: list[float]
    new: ref.Rows
    old: ref.Rows
    sampled: ref.Rows
    reference: ref.Rows
    values: ref.Rows
    old_values: ref.Rows
    entropies: ref.Rows


@pytest.fixture(scope="module")
def batch() -> Batch:
    rng = np.random.default_rng(11)

    def column(loc: float, scale: float, base: ref.Rows | None = None) -> ref.Rows:
        rows = [rng.normal(loc, scale, n) for n in LENGTHS]
        return [(row + (0.0 if base is None else base[i])).tolist() for i, row in enumerate(rows)]

    old = column(-2.0, 0.7)
    values = column(0.3, 0.8)
    return Batch(
        scores=rng.normal(0.0, 2.0, len(LENGTHS)).tolist(),
        new=column(0.0, 0.45, old),
        old=old,
        sampled=column(0.0, 0.15, old),
        reference=column(-0.1, 0.5, old),
        values=column(0.0, 0.3, values),
        old_values=values,
        entropies=column(1.5, 0.2),
    )


MASK = length_mask(torch.tensor(LENGTHS), LONGEST)


def check_rows(got: Tensor, expected: ref.Rows) -> None:
    assert not got[~MASK].any()
    np.testing.assert_allclose(got[MASK].numpy(), flat(expected), **TIGHT)


class TestKL:
    @pytest.mark.parametrize("estimator", ESTIMATORS)
    def test_values_and_gradients(self, batch: Batch, estimator: Any) -> None:
        new = padded(batch.new)[MASK].requires_grad_()
        got = kl_estimate(new, padded(batch.reference)[MASK], estimator)
        got.sum().backward()
        expected = [ref.kl_token(a, b, estimator) for a, b in zip(flat(batch.new), flat(batch.reference), strict=True)]
        np.testing.assert_allclose(got.detach().numpy(), [value for value, _ in expected], **TIGHT)
        assert new.grad is not None
        np.testing.assert_allclose(new.grad.numpy(), [slope for _, slope in expected], **TIGHT)

    def test_controller(self) -> None:
        seen = [(9.0, 64), (6.1, 64), (6.0, 8), (5.7, 64), (-1.0, 64), (100.0, 1000), (0.0, 1000), (6.5, 1)]
        controller, got = KLController(0.05, 6.0, 1000), []
        for kl, episodes in seen:
            controller.update(kl, episodes)
            got.append(controller.coef)
        np.testing.assert_allclose(got, ref.controlled(0.05, 6.0, 1000, seen), rtol=1e-12)


class TestAdvantages:
    @pytest.mark.parametrize("coef", [0.0, 0.3])
    def test_token_rewards(self, batch: Batch, coef: float) -> None:
        got = token_rewards(torch.tensor(batch.scores, dtype=torch.float64), padded(batch.reference), MASK, coef)
        check_rows(got, ref.rewards(batch.scores, batch.reference, coef))

    @pytest.mark.parametrize("gamma", [1.0, 0.93])
    @pytest.mark.parametrize("lam", [0.0, 0.95, 1.0, "by row", "adaptive"])
    def test_generalized_advantages(self, batch: Batch, gamma: float, lam: float | str) -> None:
        lambdas: list[float]
        given: float | Tensor
        if lam == "by row":
            lambdas = [0.0, 1.0, 0.3, 0.95, 0.5, 0.8]
            given = torch.tensor(lambdas, dtype=torch.float64)
        elif lam == "adaptive":
            lambdas = [ref.adaptive_lambda(n, 0.3) for n in LENGTHS]
            given = length_adaptive_lambda(torch.tensor(LENGTHS), 0.3)
        else:
            lambdas, given = [float(lam)] * len(LENGTHS), float(lam)
        rewards = ref.rewards(batch.scores, batch.reference, 0.1)
        got = generalized_advantages(padded(rewards), padded(batch.values, -1e6), MASK, gamma=gamma, gae_lambda=given)
        for tensor, expected in zip(got, ref.gae(rewards, batch.values, gamma, lambdas), strict=True):
            check_rows(tensor, expected)

    @pytest.mark.parametrize("alpha", [0.05, 0.3, 2.0])
    def test_length_adaptive_lambda(self, alpha: float) -> None:
        lengths = [1, 3, 19, 20, 21, 40, 1000]
        expected = [ref.adaptive_lambda(n, alpha) for n in lengths]
        got = length_adaptive_lambda(torch.tensor(lengths), alpha).numpy()
        np.testing.assert_allclose(got, expected, **TIGHT)

    @pytest.mark.parametrize("variant", WHITENINGS)
    def test_whiten(self, batch: Batch, variant: Any) -> None:
        got = whiten(padded(batch.values)[MASK], variant)
        np.testing.assert_allclose(got.numpy(), flat(ref.whitened(batch.values, variant)), **TIGHT)

    @pytest.mark.parametrize("buffer", [1, 4, 9])
    def test_overlong_penalty(self, buffer: int) -> None:
        lengths = list(range(12))
        got = overlong_penalty(torch.tensor(lengths), max_new_tokens=9, buffer=buffer, penalty=1.5)
        np.testing.assert_allclose(got.numpy(), [ref.overlong(n, 9, buffer, 1.5) for n in lengths], **TIGHT)

    def test_explained_variance(self, batch: Batch) -> None:
        values, returns = np.array(flat(batch.values)), np.array(flat(batch.reference))
        got = explained_variance(torch.from_numpy(values), torch.from_numpy(returns))
        assert got == pytest.approx(1 - np.var(returns - values) / np.var(returns), abs=1e-12)


class TestLosses:
    @pytest.mark.parametrize("truncated_too", [True, False])
    @pytest.mark.parametrize("aggregation", AGGREGATIONS)
    def test_aggregation_weights(self, batch: Batch, aggregation: Any, truncated_too: bool) -> None:
        trained = [truncated_too or i != TRUNCATED for i in range(len(LENGTHS))]
        mask = MASK & torch.tensor(trained)[:, None]
        weights = aggregation_weights(mask, aggregation, constant=LONGEST)
        got = (weights[MASK] * padded(batch.values)[MASK]).sum()
        assert got.item() == pytest.approx(ref.aggregate(batch.values, trained, aggregation, LONGEST), abs=1e-6)
        assert not weights[~mask].any()

    @pytest.mark.parametrize("correction", CORRECTIONS)
    def test_importance_weights(self, batch: Batch, correction: Any) -> None:
        got = importance_weights(padded(batch.old), padded(batch.sampled, -1e6), MASK, correction, CAP)
        expected = ref.importance(batch.old, batch.sampled, correction, CAP)
        check_rows(got, expected)
        if correction != "none":  # the cap binds on some tokens and not on others
            limit = CAP if correction.endswith("truncate") else 0.0
            assert {weight == limit for weight in flat(expected)} == {True, False}

    @pytest.mark.parametrize(
        ("aggregation", "clip", "correction"), list(itertools.product(AGGREGATIONS, CLIPS, CORRECTIONS))
    )
    def test_policy_loss(self, batch: Batch, aggregation: Any, clip: ref.Clip, correction: Any) -> None:
        advantages = ref.whitened(batch.values, "mean_std")
        trained = [i != TRUNCATED for i in range(len(LENGTHS))]
        mask = MASK & torch.tensor(trained)[:, None]
        new = padded(batch.new)[MASK].requires_grad_()
        got = policy_loss(
            new,
            padded(batch.old)[MASK],
            padded(advantages)[MASK],
            aggregation_weights(mask, aggregation, constant=LONGEST)[MASK],
            clip_low=clip.low,
            clip_high=clip.high,
            dual_clip=clip.dual,
            importance=importance_weights(padded(batch.old), padded(batch.sampled), MASK, correction, CAP)[MASK],
        )
        got.loss.backward()

        tokens = mapped(lambda *xs: ref.policy_token(*xs, clip), batch.new, batch.old, advantages)
        scale = ref.importance(batch.old, batch.sampled, correction, CAP)
        log_ratios = mapped(lambda a, b: a - b, batch.new, batch.old)

        def mean(rows: ref.Rows) -> float:
            return ref.aggregate(rows, trained, aggregation, LONGEST)

        expected = {
            "loss": mean(mapped(lambda token, s: token.loss * s, tokens, scale)),
            "approx_kl": mean(mapped(lambda r: r * r / 2, log_ratios)),
            "clip_fraction_low": mean(mapped(lambda token: float(token.bound == "low"), tokens)),
            "clip_fraction_high": mean(mapped(lambda token: float(token.bound == "high"), tokens)),
            "clip_fraction": mean(mapped(lambda token: float(token.bound != ""), tokens)),
            "ratio": mean(mapped(np.exp, log_ratios)),
            "ratio_max": max(np.exp(r) for row, t in zip(log_ratios, trained, strict=True) if t for r in row),
        }
        assert {name: term.item() for name, term in got._asdict().items()} == pytest.approx(expected, abs=1e-6)
        slopes = ref.spread(mapped(lambda t, s: t.slope * s, tokens, scale), trained, aggregation, LONGEST)
        assert new.grad is not None
        np.testing.assert_allclose(new.grad.numpy(), flat(slopes), **TIGHT)
        bounds = {token.bound for row, t in zip(tokens, trained, strict=True) if t for token in row}
        assert bounds == {"", "low", "high"} | ({"dual"} if clip.dual else set())

    @pytest.mark.parametrize("clip_range", [None, 0.2])
    @pytest.mark.parametrize("aggregation", AGGREGATIONS)
    def test_value_loss(self, batch: Batch, aggregation: Any, clip_range: float | None) -> None:
        values = padded(batch.values)[MASK].requires_grad_()
        weights = aggregation_weights(MASK, aggregation, constant=LONGEST)[MASK]
        old, returns = padded(batch.old_values)[MASK], padded(batch.entropies)[MASK]
        got = value_loss(values, old, returns, weights, clip_range=clip_range)
        got.backward()
        tokens = mapped(lambda *xs: ref.value_token(*xs, clip_range), batch.values, batch.old_values, batch.entropies)
        everything = [True] * len(LENGTHS)
        expected = ref.aggregate(mapped(lambda t: t[0], tokens), everything, aggregation, LONGEST)
        assert got.item() == pytest.approx(expected, abs=1e-6)
        slopes = ref.spread(mapped(lambda t: t[1], tokens), everything, aggregation, LONGEST)
        assert values.grad is not None
        np.testing.assert_allclose(values.grad.numpy(), flat(slopes), **TIGHT)
        assert {held for row in tokens for _, _, held in row} == ({False} if clip_range is None else {True, False})


@dataclass(frozen=True)
class Recipe:
    """The switches of a whole step."""

    estimator: str = "k1"
    kl_in_reward: float = 0.05
    kl_in_loss: float = 0.0
    gamma: float = 1.0
    actor_lambda: float | str = 0.95
    critic_lambda: float = 0.95
    whitening: str = "mean_std"
    clip: ref.Clip = CLIPS[0]
    aggregation: str = "token"
    correction: str = "none"
    value_clip: float | None = 0.2
    overlong: float = 0.0
    train_truncated: bool = True
    entropy: float = 0.0
    positive_nll: float = 0.0


PLAIN = Recipe()
RECIPES = {
    "ppo": PLAIN,
    "vc_ppo": replace(PLAIN, kl_in_reward=0.0, actor_lambda=0.9, critic_lambda=1.0, whitening="none"),
    "vapo": replace(
        PLAIN,
        kl_in_reward=0.0,
        actor_lambda="adaptive",
        critic_lambda=1.0,
        clip=CLIPS[1],
        value_clip=None,
        positive_nll=0.1,
        overlong=0.5,
    ),
    "dual_clip": replace(PLAIN, clip=CLIPS[2], aggregation="sequence", estimator="k3", gamma=0.97),
    "kl_in_loss_k2": replace(PLAIN, estimator="k2", kl_in_reward=0.0, kl_in_loss=0.2, whitening="std"),
    "kl_in_loss_k3": replace(PLAIN, estimator="k3", kl_in_loss=0.2, aggregation="sequence", entropy=0.01),
    "kl_in_loss_abs": replace(PLAIN, estimator="abs", kl_in_loss=0.2, aggregation="constant"),
    "truncation_mask": replace(PLAIN, train_truncated=False, aggregation="constant", correction="token_truncate"),
    "mismatch": replace(PLAIN, correction="sequence_mask", train_truncated=False, overlong=1.0, clip=CLIPS[2]),
}


class TestWholeStep:
    """From log-probabilities, values and scores to the losses and their gradients, all switches together."""

    @pytest.mark.parametrize("name", RECIPES)
    def test_losses_and_gradients(self, batch: Batch, name: str) -> None:
        recipe = RECIPES[name]
        actor, critic = ours(batch, recipe)
        expected_actor, expected_critic = theirs(batch, recipe)
        for (loss, gradient), (expected, slopes) in ((actor, expected_actor), (critic, expected_critic)):
            assert loss == pytest.approx(expected, abs=1e-6)
            np.testing.assert_allclose(gradient.numpy(), flat(slopes), **TIGHT)


def ours(batch: Batch, recipe: Any) -> tuple[tuple[float, Tensor], tuple[float, Tensor]]:
    """Loss and gradient of actor and critic, by bai_sweep's functions."""
    lengths = torch.tensor(LENGTHS)
    old, old_values = padded(batch.old), padded(batch.old_values)
    scores = torch.tensor(batch.scores, dtype=torch.float64)
    scores = scores - overlong_penalty(lengths, max_new_tokens=LONGEST, buffer=4, penalty=recipe.overlong)
    kl = kl_estimate(old, padded(batch.reference, -1e6), recipe.estimator)
    rewards = token_rewards(scores, kl, MASK, recipe.kl_in_reward)
    lam = length_adaptive_lambda(lengths, 0.3) if recipe.actor_lambda == "adaptive" else recipe.actor_lambda
    advantages, _ = generalized_advantages(rewards, old_values, MASK, gamma=recipe.gamma, gae_lambda=lam)
    _, returns = generalized_advantages(rewards, old_values, MASK, gamma=recipe.gamma, gae_lambda=recipe.critic_lambda)
    rows = torch.tensor([recipe.train_truncated or i != TRUNCATED for i in range(len(LENGTHS))])
    mask = MASK & rows[:, None]
    weights = aggregation_weights(mask, recipe.aggregation, constant=LONGEST)[MASK]
    new, values = padded(batch.new)[MASK].requires_grad_(), padded(batch.values)[MASK].requires_grad_()
    policy = policy_loss(
        new,
        old[MASK],
        whiten(advantages[MASK], recipe.whitening),
        weights,
        clip_low=recipe.clip.low,
        clip_high=recipe.clip.high,
        dual_clip=recipe.clip.dual,
        importance=importance_weights(old, padded(batch.sampled), MASK, recipe.correction, CAP)[MASK],
    )
    penalty = (weights * kl_estimate(new, padded(batch.reference)[MASK], recipe.estimator)).sum()
    entropy = (weights * padded(batch.entropies)[MASK]).sum()
    positive = aggregation_weights(mask & (scores > 0)[:, None], recipe.aggregation, constant=LONGEST)[MASK]
    nll = -(positive * new).sum()
    actor = policy.loss + recipe.kl_in_loss * penalty - recipe.entropy * entropy + recipe.positive_nll * nll
    everything = aggregation_weights(MASK, recipe.aggregation, constant=LONGEST)[MASK]
    critic = value_loss(values, old_values[MASK], returns[MASK], everything, clip_range=recipe.value_clip)
    (actor + critic).backward()
    assert new.grad is not None
    assert values.grad is not None
    return (actor.item(), new.grad), (critic.item(), values.grad)


def theirs(batch: Batch, recipe: Any) -> tuple[tuple[float, ref.Rows], tuple[float, ref.Rows]]:
    """The same by the reference."""
    scores = [s - ref.overlong(n, LONGEST, 4, recipe.overlong) for s, n in zip(batch.scores, LENGTHS, strict=True)]
    kl = mapped(lambda a, b: ref.kl_token(a, b, recipe.estimator)[0], batch.old, batch.reference)
    rewards = ref.rewards(scores, kl, recipe.kl_in_reward)
    lam = recipe.actor_lambda
    lambdas = [ref.adaptive_lambda(n, 0.3) if lam == "adaptive" else lam for n in LENGTHS]
    advantages, _ = ref.gae(rewards, batch.old_values, recipe.gamma, lambdas)
    _, returns = ref.gae(rewards, batch.old_values, recipe.gamma, [recipe.critic_lambda] * len(LENGTHS))
    advantages = ref.whitened(advantages, recipe.whitening)
    trained = [recipe.train_truncated or i != TRUNCATED for i in range(len(LENGTHS))]
    positive = [train and score > 0 for train, score in zip(trained, scores, strict=True)]
    assert any(positive)
    assert positive != trained
    how = (recipe.aggregation, LONGEST)

    policy = mapped(lambda *xs: ref.policy_token(*xs, recipe.clip), batch.new, batch.old, advantages)
    scale = ref.importance(batch.old, batch.sampled, recipe.correction, CAP)
    penalty = mapped(lambda a, b: ref.kl_token(a, b, recipe.estimator), batch.new, batch.reference)
    actor = mapped(
        lambda token, s, kl, h: token.loss * s + recipe.kl_in_loss * kl[0] - recipe.entropy * h,
        policy, scale, penalty, batch.entropies,
    )  # fmt: skip
    slopes = mapped(lambda token, s, kl: token.slope * s + recipe.kl_in_loss * kl[1], policy, scale, penalty)
    loss = ref.aggregate(actor, trained, *how) - recipe.positive_nll * ref.aggregate(batch.new, positive, *how)
    pull = ref.spread([[-recipe.positive_nll] * n for n in LENGTHS], positive, *how)
    actor_slopes = mapped(lambda a, b: a + b, ref.spread(slopes, trained, *how), pull)

    value = mapped(lambda *xs: ref.value_token(*xs, recipe.value_clip), batch.values, batch.old_values, returns)
    everything = [True] * len(LENGTHS)
    critic = ref.aggregate(mapped(lambda t: t[0], value), everything, *how)
    critic_slopes = ref.spread(mapped(lambda t: t[1], value), everything, *how)
    return (loss, actor_slopes), (critic, critic_slopes)


class TestTheReferenceItself:
    """The derivatives worked out by hand, by central differences of the values."""

    STEP = 1e-6

    def difference(self, function: Callable[[float], float], at: float) -> float:
        return (function(at + self.STEP) - function(at - self.STEP)) / (2 * self.STEP)

    @pytest.mark.parametrize("estimator", ESTIMATORS)
    def test_kl(self, batch: Batch, estimator: str) -> None:
        for a, b in zip(flat(batch.new), flat(batch.reference), strict=True):
            slope = self.difference(lambda x, b=b: ref.kl_token(x, b, estimator)[0], a)
            assert ref.kl_token(a, b, estimator)[1] == pytest.approx(slope, abs=1e-8)

    @pytest.mark.parametrize("clip", CLIPS)
    def test_policy(self, batch: Batch, clip: ref.Clip) -> None:
        for a, b, advantage in zip(*map(flat, (batch.new, batch.old, batch.values)), strict=True):
            token = ref.policy_token(a, b, advantage, clip)
            rho = np.exp(a - b)
            objective = min(advantage * rho, advantage * np.clip(rho, 1 - clip.low, 1 + clip.high))
            if clip.dual is not None and advantage < 0:
                objective = max(objective, clip.dual * advantage)
            assert token.loss == pytest.approx(-objective, abs=1e-12)
            slope = self.difference(
                lambda x, b=b, advantage=advantage: ref.policy_token(x, b, advantage, clip).loss,
                a,
            )
            assert token.slope == pytest.approx(slope, abs=1e-8)

    @pytest.mark.parametrize("clip", [None, 0.2])
    def test_value(self, batch: Batch, clip: float | None) -> None:
        for v, old, target in zip(*map(flat, (batch.values, batch.old_values, batch.entropies)), strict=True):
            slope = self.difference(
                lambda x, old=old, target=target: ref.value_token(x, old, target, clip)[0],
                v,
            )
            assert ref.value_token(v, old, target, clip)[1] == pytest.approx(slope, abs=1e-8)
