"""PPO's formulas against hand computation and against independent float64 code in plain Python, NumPy and SciPy."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate, stats

from bai_sweep.ppo._math import (
    explained_variance,
    generalized_advantages,
    kl_estimate,
    length_mask,
    policy_loss,
    row_sums,
    token_rewards,
    value_loss,
    whiten,
)

TIGHT: dict[str, Any] = {"atol": 1e-6, "rtol": 1e-6}


def ragged(seed: int, rows: int = 5, longest: int = 9) -> tuple[torch.Tensor, ...]:
    """Rewards, values and mask of responses of different lengths, in fp64, with rubbish outside the mask."""
    rng = np.random.default_rng(seed)
    lengths = torch.from_numpy(rng.integers(1, longest + 1, rows))
    rewards, values = (torch.from_numpy(rng.normal(size=(rows, longest))) for _ in range(2))
    return rewards, values, length_mask(lengths, longest)


class TestGAE:
    def test_by_hand(self) -> None:
        # gamma 0.5, lambda 0.5: delta = [1 + .5*2 - 1, 0 + .5*4 - 2, 3 - 4] = [1, 0, -1];
        # A3 = -1, A2 = 0 + .25*-1 = -.25, A1 = 1 + .25*-.25 = .9375.
        rewards, values = torch.tensor([[1.0, 0.0, 3.0, 99.0]]), torch.tensor([[1.0, 2.0, 4.0, 99.0]])
        mask = torch.tensor([[True, True, True, False]])
        advantages, returns = generalized_advantages(rewards, values, mask, gamma=0.5, gae_lambda=0.5)
        torch.testing.assert_close(advantages, torch.tensor([[0.9375, -0.25, -1.0, 0.0]]))
        torch.testing.assert_close(returns, torch.tensor([[1.9375, 1.75, 3.0, 0.0]]))

    @pytest.mark.parametrize(("gamma", "lam"), [(1.0, 0.95), (0.97, 0.9), (1.0, 1.0), (0.9, 0.0)])
    def test_against_the_explicit_sum(self, gamma: float, lam: float) -> None:
        rewards, values, mask = ragged(1)
        advantages, returns = generalized_advantages(rewards, values, mask, gamma=gamma, gae_lambda=lam)
        expected = np.zeros(mask.shape)
        for i, n in enumerate(mask.sum(1).tolist()):
            r, v = rewards[i, :n].numpy(), np.append(values[i, :n].numpy(), 0.0)
            delta = [r[t] + gamma * v[t + 1] - v[t] for t in range(n)]
            for t in range(n):
                expected[i, t] = sum((gamma * lam) ** k * delta[t + k] for k in range(n - t))
        np.testing.assert_allclose(advantages.numpy(), expected, atol=1e-12)
        np.testing.assert_allclose(returns.numpy(), expected + (values * mask).numpy(), atol=1e-12)

    def test_lambda_one_gives_discounted_returns(self) -> None:
        rewards, values, mask = ragged(2)
        _, returns = generalized_advantages(rewards, values, mask, gamma=0.9, gae_lambda=1.0)
        for i, n in enumerate(mask.sum(1).tolist()):
            discounted = sum(0.9**t * rewards[i, t].item() for t in range(n))
            assert returns[i, 0].item() == pytest.approx(discounted, abs=1e-12)

    @given(st.integers(0, 10_000))
    @settings(max_examples=25, deadline=None)
    def test_nothing_outside_the_mask_is_read(self, seed: int) -> None:
        rewards, values, mask = ragged(seed)
        rubbish = torch.where(mask, rewards, 1e6), torch.where(mask, values, -1e6)
        for a, b in zip(
            generalized_advantages(rewards, values, mask, gamma=0.9, gae_lambda=0.8),
            generalized_advantages(*rubbish, mask, gamma=0.9, gae_lambda=0.8),
            strict=True,
        ):
            assert torch.equal(a, b)
            assert not a[~mask].any()


class TestKL:
    def test_by_hand(self) -> None:
        policy, reference = torch.tensor([math.log(0.5)]), torch.tensor([math.log(0.25)])
        assert kl_estimate(policy, reference, "k1").item() == pytest.approx(math.log(2))
        assert kl_estimate(policy, reference, "k3").item() == pytest.approx(0.5 - 1 + math.log(2), abs=1e-6)

    @pytest.mark.parametrize("estimator", ["k1", "k3"])
    def test_unbiased_and_positive_for_a_policy_that_moved(self, estimator: Any) -> None:
        p, q = np.array([0.7, 0.2, 0.1]), np.array([0.2, 0.3, 0.5])
        per_token = kl_estimate(torch.from_numpy(np.log(p)), torch.from_numpy(np.log(q)), estimator).numpy()
        assert p @ per_token == pytest.approx(stats.entropy(p, q), abs=1e-12)
        assert p @ per_token > 0

    @given(st.floats(-20, 0), st.floats(-20, 0))
    def test_k3_is_never_negative(self, policy: float, reference: float) -> None:
        pair = torch.tensor([policy], dtype=torch.float64), torch.tensor([reference], dtype=torch.float64)
        assert kl_estimate(*pair, "k3").item() >= 0

    def test_k3_keeps_its_digits_near_zero(self) -> None:
        tiny = 1e-3
        got = kl_estimate(torch.tensor([tiny]), torch.tensor([0.0]), "k3").item()
        assert got == pytest.approx(math.exp(-tiny) - 1 + tiny, rel=1e-3)

    def test_gaussian_kl_by_integration(self) -> None:
        p, q = stats.norm(0, 1), stats.norm(0.5, 1)
        x = np.linspace(-9, 9, 4001)
        k1, k3 = (
            kl_estimate(torch.from_numpy(p.logpdf(x)), torch.from_numpy(q.logpdf(x)), k).numpy() for k in ("k1", "k3")
        )
        for per_point in (k1, k3):
            assert integrate.simpson(p.pdf(x) * per_point, x=x) == pytest.approx(0.125, abs=1e-6)


def test_token_rewards_by_hand() -> None:
    mask = torch.tensor([[True, True, True], [True, False, False]])
    kl = torch.tensor([[1.0, -2.0, 3.0], [4.0, 50.0, 60.0]])
    got = token_rewards(torch.tensor([10.0, -1.0]), kl, mask, kl_coef=0.1)
    torch.testing.assert_close(got, torch.tensor([[-0.1, 0.2, 9.7], [-1.4, 0.0, 0.0]]))


def test_a_policy_away_from_the_reference_is_paid_less() -> None:
    mask = torch.ones(1, 2, dtype=torch.bool)
    moved = kl_estimate(torch.tensor([[-0.1, -0.1]]), torch.tensor([[-2.0, -2.0]]), "k1")
    paid = token_rewards(torch.tensor([1.0]), moved, mask, kl_coef=0.5).sum()
    assert paid.item() == pytest.approx(1.0 - 0.5 * 3.8, abs=1e-6)


class TestWhiten:
    def test_by_hand(self) -> None:
        # mean 2, unbiased variance (1 + 0 + 1) / 2 = 1.
        torch.testing.assert_close(whiten(torch.tensor([1.0, 2.0, 3.0])), torch.tensor([-1.0, 0.0, 1.0]))

    def test_against_scipy_z_scores(self) -> None:
        values = np.random.default_rng(0).normal(3, 5, 200)
        np.testing.assert_allclose(whiten(torch.from_numpy(values)).numpy(), stats.zscore(values, ddof=1), atol=1e-8)

    @pytest.mark.parametrize("values", [[4.0], [2.0, 2.0]])
    def test_no_variance_gives_zeros(self, values: list[float]) -> None:
        assert whiten(torch.tensor(values)).tolist() == [0.0] * len(values)


def flat(seed: int, n: int = 40) -> tuple[torch.Tensor, ...]:
    rng = np.random.default_rng(seed)
    return tuple(torch.from_numpy(rng.normal(scale=s, size=n)) for s in (0.3, 0.3, 1.0))


class TestPolicyLoss:
    def test_by_hand(self) -> None:
        # ratios 1.5, 0.5, 1.1 with A = 2, 2, -1, clip 0.2:
        # max(-3, -2.4) = -2.4; max(-1, -1.6) = -1; max(1.1, 1.1) = 1.1; mean -2.3/3.
        new = torch.tensor([1.5, 0.5, 1.1]).log()
        terms = policy_loss(new, torch.zeros(3), torch.tensor([2.0, 2.0, -1.0]), 0.2)
        assert terms.loss.item() == pytest.approx(-2.3 / 3, abs=1e-6)
        assert terms.clip_fraction.item() == pytest.approx(1 / 3, abs=1e-6)
        assert terms.ratio.item() == pytest.approx(3.1 / 3, abs=1e-6)
        expected = sum(math.log(x) ** 2 for x in (1.5, 0.5, 1.1)) / 6
        assert terms.approx_kl.item() == pytest.approx(expected, abs=1e-6)

    def test_value_and_gradient_against_cases(self) -> None:
        """The derivative case by case: -A rho / n where unclipped, 0 where clipping binds."""
        new, old, advantages = flat(3)
        new.requires_grad_()
        policy_loss(new, old, advantages, 0.2).loss.backward()
        losses, slopes = [], []
        for x, y, a in zip(new.tolist(), old.tolist(), advantages.tolist(), strict=True):
            rho = math.exp(x - y)
            bound = (a > 0 and rho > 1.2) or (a < 0 and rho < 0.8)
            losses.append(-a * ((1.2 if a > 0 else 0.8) if bound else rho))
            slopes.append(0.0 if bound else -a * rho / len(new))
        assert {s == 0.0 for s in slopes} == {True, False}
        assert policy_loss(new, old, advantages, 0.2).loss.item() == pytest.approx(np.mean(losses), abs=1e-12)
        assert new.grad is not None
        np.testing.assert_allclose(new.grad.numpy(), slopes, atol=1e-12)

    def test_equal_policies_give_the_policy_gradient(self) -> None:
        new, _, advantages = flat(4)
        terms = policy_loss(new.requires_grad_(), new.detach(), advantages, 0.2)
        terms.loss.backward()
        assert new.grad is not None
        np.testing.assert_allclose(new.grad.numpy(), -advantages.numpy() / len(new), atol=1e-12)
        assert terms.ratio.item() == 1.0


class TestValueLoss:
    def test_by_hand(self) -> None:
        # old 0, clip 0.2: V = 1 -> clipped .2; against R = 1: max(0, .64); V = .1, R = 0: max(.01, .01).
        got = value_loss(torch.tensor([1.0, 0.1]), torch.zeros(2), torch.tensor([1.0, 0.0]), 0.2)
        assert got.item() == pytest.approx(0.5 * (0.64 + 0.01) / 2, abs=1e-6)

    def test_value_and_gradient_against_cases(self) -> None:
        values, old, returns = flat(5)
        values.requires_grad_()
        loss = value_loss(values, old, returns, 0.2)
        loss.backward()
        losses, slopes = [], []
        for v, o, r in zip(values.tolist(), old.tolist(), returns.tolist(), strict=True):
            clipped = min(max(v, o - 0.2), o + 0.2)
            losses.append(0.5 * max((v - r) ** 2, (clipped - r) ** 2))
            held = (clipped - r) ** 2 > (v - r) ** 2
            slopes.append(0.0 if held else (v - r) / len(values))
        assert {s == 0.0 for s in slopes} == {True, False}
        assert loss.item() == pytest.approx(np.mean(losses), abs=1e-12)
        assert values.grad is not None
        np.testing.assert_allclose(values.grad.numpy(), slopes, atol=1e-12)


class TestExplainedVariance:
    def test_against_numpy(self) -> None:
        values, returns, _ = flat(6)
        expected = 1 - np.var((returns - values).numpy()) / np.var(returns.numpy())
        assert explained_variance(values, returns) == pytest.approx(expected, abs=1e-12)

    def test_ends_of_the_scale(self) -> None:
        returns = torch.tensor([1.0, 2.0, 4.0])
        assert explained_variance(returns, returns) == 1.0
        assert explained_variance(torch.full((3,), 9.0), returns) == pytest.approx(0.0, abs=1e-12)
        assert explained_variance(returns, torch.ones(3)) == 0.0


def test_row_sums_and_length_mask() -> None:
    mask = length_mask(torch.tensor([1, 3]), 3)
    assert mask.tolist() == [[True, False, False], [True, True, True]]
    assert row_sums(torch.tensor([[1.0, 9.0, 9.0], [1.0, 2.0, 3.0]]), mask).tolist() == [1.0, 6.0]
