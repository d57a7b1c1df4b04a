"""Rewards, advantages and what shapes them: by hand, against NumPy and SciPy, and by what must always hold."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import signal, stats

from bai_sweep.ppo.formulas import (
    explained_variance,
    generalized_advantages,
    kl_estimate,
    length_adaptive_lambda,
    length_mask,
    overlong_penalty,
    row_sums,
    token_rewards,
    whiten,
)

SEEDS = st.integers(0, 10_000)


def ragged(seed: int, rows: int = 5, longest: int = 9) -> tuple[torch.Tensor, ...]:
    """Rewards, values and mask of responses of different lengths, in fp64, with rubbish outside the mask."""
    rng = np.random.default_rng(seed)
    lengths = torch.from_numpy(rng.integers(1, longest + 1, rows))
    rewards, values = (torch.from_numpy(rng.normal(size=(rows, longest))) for _ in range(2))
    return rewards, values, length_mask(lengths, longest)


class TestTokenRewards:
    def test_by_hand(self) -> None:
        mask = torch.tensor([[True, True, True], [True, False, False]])
        kl = torch.tensor([[1.0, -2.0, 3.0], [4.0, 50.0, float("nan")]])
        got = token_rewards(torch.tensor([10.0, -1.0]), kl, mask, kl_coef=0.1)
        torch.testing.assert_close(got, torch.tensor([[-0.1, 0.2, 9.7], [-1.4, 0.0, 0.0]]))

    @pytest.mark.parametrize("estimator", ["k1", "k2", "k3", "abs"])
    def test_moving_away_from_the_reference_costs_reward(self, estimator: Any) -> None:
        mask = torch.ones(1, 2, dtype=torch.bool)
        moved = kl_estimate(torch.tensor([[-0.1, -0.1]]), torch.tensor([[-2.0, -2.0]]), estimator)
        paid = token_rewards(torch.tensor([1.0]), moved, mask, kl_coef=0.5).sum()
        # r = 1.9 on both tokens
        per_token = {"k1": 1.9, "k2": 1.9**2 / 2, "k3": np.exp(-1.9) - 1 + 1.9, "abs": 1.9}[estimator]
        assert paid.item() == pytest.approx(1.0 - per_token, abs=1e-6)


class TestGAE:
    def test_by_hand(self) -> None:
        # gamma 0.5, lambda 0.5: delta = [1 + .5*2 - 1, 0 + .5*4 - 2, 3 - 4] = [1, 0, -1];
        # A3 = -1, A2 = 0 + .25*-1 = -.25, A1 = 1 + .25*-.25 = .9375.
        rewards, values = torch.tensor([[1.0, 0.0, 3.0, 99.0]]), torch.tensor([[1.0, 2.0, 4.0, 99.0]])
        mask = torch.tensor([[True, True, True, False]])
        advantages, returns = generalized_advantages(rewards, values, mask, gamma=0.5, gae_lambda=0.5)
        torch.testing.assert_close(advantages, torch.tensor([[0.9375, -0.25, -1.0, 0.0]]))
        torch.testing.assert_close(returns, torch.tensor([[1.9375, 1.75, 3.0, 0.0]]))

    def test_each_row_by_its_own_lambda(self) -> None:
        # The row above at lambda 0.5, and at lambda 0 where A = delta.
        rewards, values = torch.tensor([[1.0, 0.0, 3.0]] * 2), torch.tensor([[1.0, 2.0, 4.0]] * 2)
        mask = torch.ones(2, 3, dtype=torch.bool)
        lambdas = torch.tensor([0.5, 0.0])
        advantages, _ = generalized_advantages(rewards, values, mask, gamma=0.5, gae_lambda=lambdas)
        torch.testing.assert_close(advantages, torch.tensor([[0.9375, -0.25, -1.0], [1.0, 0.0, -1.0]]))

    @pytest.mark.parametrize(("gamma", "lam"), [(1.0, 0.95), (0.97, 0.9), (1.0, 1.0), (0.9, 0.0)])
    def test_a_long_row_against_scipys_recursive_filter(self, gamma: float, lam: float) -> None:
        rewards, values, mask = ragged(1, rows=3, longest=400)
        advantages, _ = generalized_advantages(rewards, values, mask, gamma=gamma, gae_lambda=lam)
        for i, n in enumerate(mask.sum(1).tolist()):
            v = np.append(values[i, :n].numpy(), 0.0)
            delta = rewards[i, :n].numpy() + gamma * v[1:] - v[:-1]
            expected = signal.lfilter([1.0], [1.0, -gamma * lam], delta[::-1])[::-1]
            np.testing.assert_allclose(advantages[i, :n].numpy(), expected, atol=1e-12)

    @given(SEEDS, st.floats(0, 1))
    @settings(max_examples=25, deadline=None)
    def test_lambda_one_gives_monte_carlo_returns_whatever_the_critic(self, seed: int, gamma: float) -> None:
        rewards, values, mask = ragged(seed)
        advantages, returns = generalized_advantages(rewards, values, mask, gamma=gamma, gae_lambda=1.0)
        for i, n in enumerate(mask.sum(1).tolist()):
            for t in range(n):
                discounted = sum(gamma**k * rewards[i, t + k].item() for k in range(n - t))
                assert returns[i, t].item() == pytest.approx(discounted, abs=1e-9)
                assert advantages[i, t].item() == pytest.approx(discounted - values[i, t].item(), abs=1e-9)

    @given(SEEDS)
    @settings(max_examples=25, deadline=None)
    def test_nothing_outside_the_mask_is_read(self, seed: int) -> None:
        rewards, values, mask = ragged(seed)
        rubbish = torch.where(mask, rewards, torch.nan), torch.where(mask, values, torch.inf)
        for a, b in zip(
            generalized_advantages(rewards, values, mask, gamma=0.9, gae_lambda=0.8),
            generalized_advantages(*rubbish, mask, gamma=0.9, gae_lambda=0.8),
            strict=True,
        ):
            assert torch.equal(a, b)
            assert not a[~mask].any()

    @given(SEEDS, st.permutations(range(5)))
    @settings(max_examples=25, deadline=None)
    def test_rows_do_not_see_each_other(self, seed: int, order: list[int]) -> None:
        rewards, values, mask = ragged(seed)
        lambdas = torch.linspace(0.0, 1.0, 5, dtype=torch.float64)
        whole = generalized_advantages(rewards, values, mask, gamma=0.9, gae_lambda=lambdas)
        permuted = generalized_advantages(
            rewards[order], values[order], mask[order], gamma=0.9, gae_lambda=lambdas[order]
        )
        for a, b in zip(whole, permuted, strict=True):
            assert torch.equal(a[order], b)

    def test_the_inputs_are_left_as_they_were(self) -> None:
        rewards, values, mask = ragged(3, rows=1)
        before = rewards.clone(), values.clone()
        generalized_advantages(rewards, values, mask, gamma=0.9, gae_lambda=0.8)
        assert torch.equal(rewards, before[0])
        assert torch.equal(values, before[1])


class TestLengthAdaptiveLambda:
    def test_by_hand(self) -> None:
        # alpha 0.05: 1 - 20 / l
        got = length_adaptive_lambda(torch.tensor([1, 20, 25, 40, 2000]), 0.05)
        torch.testing.assert_close(got, torch.tensor([0.0, 0.0, 0.2, 0.5, 0.99]))

    @given(st.integers(25, 2000), st.floats(0.05, 2.0))
    def test_the_weights_of_temporal_differences_sum_to_alpha_times_the_length(
        self, length: int, alpha: float
    ) -> None:
        lam = length_adaptive_lambda(torch.tensor([length]), alpha).double().item()
        assert 1 / (1 - lam) == pytest.approx(alpha * length, rel=2e-3)

    @given(st.lists(st.integers(0, 5000), min_size=2, max_size=20), st.floats(0.01, 10.0))
    def test_between_0_and_1_and_growing_with_the_length(self, lengths: list[int], alpha: float) -> None:
        lambdas = length_adaptive_lambda(torch.tensor(sorted(lengths)), alpha)
        assert ((lambdas >= 0) & (lambdas <= 1)).all()
        assert (lambdas.diff() >= 0).all()


class TestWhiten:
    def test_by_hand(self) -> None:
        # mean 2, unbiased variance (4 + 0 + 4) / 2 = 4.
        values = torch.tensor([0.0, 2.0, 4.0])
        torch.testing.assert_close(whiten(values, "mean_std"), torch.tensor([-1.0, 0.0, 1.0]))
        torch.testing.assert_close(whiten(values, "std"), torch.tensor([1.0, 2.0, 3.0]))
        assert whiten(values, "none") is values

    def test_mean_std_against_scipy_z_scores(self) -> None:
        values = np.random.default_rng(0).normal(3, 5, 200)
        got = whiten(torch.from_numpy(values), "mean_std").numpy()
        np.testing.assert_allclose(got, stats.zscore(values, ddof=1), atol=1e-8)

    def test_std_keeps_the_mean(self) -> None:
        values = np.random.default_rng(0).normal(3, 5, 200)
        got = whiten(torch.from_numpy(values), "std").numpy()
        assert got.mean() == pytest.approx(values.mean(), abs=1e-12)
        assert got.std(ddof=1) == pytest.approx(1.0, abs=1e-8)

    @pytest.mark.parametrize("values", [[4.0], [2.0, 2.0]])
    def test_no_variance_gives_the_mean_alone(self, values: list[float]) -> None:
        assert whiten(torch.tensor(values), "mean_std").tolist() == [0.0] * len(values)
        assert whiten(torch.tensor(values), "std").tolist() == values

    @given(SEEDS, st.floats(0.1, 10.0), st.floats(-10.0, 10.0))
    def test_mean_std_forgets_scale_and_offset(self, seed: int, scale: float, offset: float) -> None:
        values = torch.from_numpy(np.random.default_rng(seed).normal(size=20))
        torch.testing.assert_close(
            whiten(scale * values + offset, "mean_std"), whiten(values, "mean_std"), atol=1e-4, rtol=1e-4
        )


class TestOverlongPenalty:
    def test_by_hand(self) -> None:
        got = overlong_penalty(torch.tensor([1, 12, 13, 14, 16, 99]), max_new_tokens=16, buffer=4, penalty=2.0)
        torch.testing.assert_close(got, torch.tensor([0.0, 0.0, 0.5, 1.0, 2.0, 2.0]))

    @pytest.mark.parametrize("buffer", [0, 1])
    def test_without_a_buffer_only_the_longest_lose(self, buffer: int) -> None:
        got = overlong_penalty(torch.tensor([1, 15, 16, 17]), max_new_tokens=16, buffer=buffer, penalty=2.0)
        assert got.tolist() == [0.0, 0.0, 2.0, 2.0]

    @given(st.integers(0, 64), st.floats(0.0, 5.0))
    def test_never_negative_and_growing_with_the_length(self, buffer: int, penalty: float) -> None:
        got = overlong_penalty(torch.arange(100), max_new_tokens=64, buffer=buffer, penalty=penalty)
        assert got.min().item() == 0.0
        assert got[64].item() == got.max().item() == pytest.approx(penalty, rel=1e-6)
        assert (got.diff() >= 0).all()


class TestExplainedVariance:
    def test_against_numpy(self) -> None:
        values, returns, mask = ragged(6)
        values, returns = values[mask], returns[mask]
        expected = 1 - np.var((returns - values).numpy()) / np.var(returns.numpy())
        assert explained_variance(values, returns) == pytest.approx(expected, abs=1e-12)

    def test_ends_of_the_scale(self) -> None:
        returns = torch.tensor([1.0, 2.0, 4.0])
        assert explained_variance(returns, returns) == 1.0
        assert explained_variance(torch.full((3,), 9.0), returns) == pytest.approx(0.0, abs=1e-12)
        assert explained_variance(returns, torch.ones(3)) == 0.0

    def test_returns_that_differ_by_rounding_are_constant(self) -> None:
        returns = torch.full((64,), 0.7) + torch.arange(64) % 2 * 6e-8

        assert len(returns.unique()) == 2
        assert explained_variance(torch.linspace(-1, 1, 64), returns) == 0.0
        assert explained_variance(torch.linspace(-1, 1, 64), 0.7 + torch.linspace(-1, 1, 64)) == pytest.approx(1.0)

    @pytest.mark.parametrize("score", [0.0, 1.0])
    @pytest.mark.parametrize("scale", [1.0, 30.0])
    def test_returns_of_one_score_are_constant_whatever_the_values(self, score: float, scale: float) -> None:
        values = scale * torch.randn(4, 512, generator=torch.Generator().manual_seed(0))
        mask = torch.ones(4, 512, dtype=torch.bool)
        rewards = torch.zeros(4, 512)
        rewards[:, -1] = score

        _, returns = generalized_advantages(rewards, values, mask, gamma=1.0, gae_lambda=1.0)

        assert returns.unique().numel() > 1
        assert explained_variance(values[mask], returns[mask]) == 0.0


def test_row_sums_and_length_mask() -> None:
    mask = length_mask(torch.tensor([1, 3]), 3)
    assert mask.tolist() == [[True, False, False], [True, True, True]]
    assert row_sums(torch.tensor([[1.0, 9.0, float("nan")], [1.0, 2.0, 3.0]]), mask).tolist() == [1.0, 6.0]
