"""Weights and losses by hand, their signs, and what must always hold of them."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from bai_sweep.ppo.formulas import (
    PolicyTerms,
    aggregation_weights,
    importance_weights,
    policy_loss,
    value_loss,
)

AGGREGATIONS = ["token", "sequence", "constant"]
CORRECTIONS = ["token_truncate", "token_mask", "sequence_truncate", "sequence_mask"]
SEEDS = st.integers(0, 10_000)
MASKS = st.integers(1, 5).flatmap(
    lambda n: st.lists(st.lists(st.booleans(), min_size=n, max_size=n), min_size=1, max_size=5)
)


def loss_of(
    ratios: list[float], advantages: list[float], *, dual_clip: float | None = None, **changes: Any
) -> tuple[PolicyTerms, Tensor]:
    """The mean loss of tokens with these ratios, clipped at 0.8 and 1.28, and its gradient by log-probability."""
    logprobs = torch.tensor(ratios, dtype=torch.float64).log().requires_grad_()
    n = len(ratios)
    given_ = {
        "weights": torch.full((n,), 1 / max(n, 1), dtype=torch.float64),
        "clip_low": 0.2,
        "clip_high": 0.28,
        "importance": None,
    } | changes
    terms = policy_loss(
        logprobs,
        torch.zeros(n, dtype=torch.float64),
        torch.tensor(advantages, dtype=torch.float64),
        dual_clip=dual_clip,
        **given_,
    )
    terms.loss.backward()
    assert logprobs.grad is not None
    return terms, logprobs.grad


class TestAggregationWeights:
    MASK = torch.tensor([[True, True, True], [True, False, False], [False, False, False]])

    @pytest.mark.parametrize(
        ("aggregation", "first", "second"),
        [("token", 1 / 4, 1 / 4), ("sequence", 1 / 6, 1 / 2), ("constant", 1 / 30, 1 / 30)],
    )
    def test_by_hand(self, aggregation: Any, first: float, second: float) -> None:
        got = aggregation_weights(self.MASK, aggregation, constant=10)
        torch.testing.assert_close(got, torch.tensor([[first] * 3, [second, 0.0, 0.0], [0.0] * 3]))

    @pytest.mark.parametrize("aggregation", AGGREGATIONS)
    @given(rows=MASKS)
    def test_sums_and_support(self, aggregation: Any, rows: list[list[bool]]) -> None:
        mask = torch.tensor(rows)
        weights = aggregation_weights(mask, aggregation, constant=7)
        assert torch.equal(weights > 0, mask)
        tokens = sum(map(sum, rows))
        total = tokens / (len(rows) * 7) if aggregation == "constant" else float(tokens > 0)
        assert weights.sum().item() == pytest.approx(total, abs=1e-6)

    @pytest.mark.parametrize("aggregation", AGGREGATIONS)
    def test_an_empty_mask_gives_zeros(self, aggregation: Any) -> None:
        assert not aggregation_weights(torch.zeros(2, 3, dtype=torch.bool), aggregation, constant=3).any()

    def test_sequence_gives_every_row_the_same_say(self) -> None:
        rows = aggregation_weights(self.MASK, "sequence", constant=1).sum(1)
        torch.testing.assert_close(rows, torch.tensor([0.5, 0.5, 0.0]))


class TestImportanceWeights:
    # Ratios 2, 0.5, 1.5 (product 1.5) and 3 (the rest is not part of the row).
    TRAINER = torch.tensor([[2.0, 0.5, 1.5], [3.0, 9.0, 9.0]]).log()
    SAMPLED = torch.zeros(2, 3)
    MASK = torch.tensor([[True, True, True], [True, False, False]])

    @pytest.mark.parametrize(
        ("correction", "expected"),
        [
            ("none", [[1.0, 1.0, 1.0], [1.0, 0.0, 0.0]]),
            ("token_truncate", [[1.8, 0.5, 1.5], [1.8, 0.0, 0.0]]),
            ("token_mask", [[0.0, 0.5, 1.5], [0.0, 0.0, 0.0]]),
            ("sequence_truncate", [[1.5, 1.5, 1.5], [1.8, 0.0, 0.0]]),
            ("sequence_mask", [[1.5, 1.5, 1.5], [0.0, 0.0, 0.0]]),
        ],
    )
    def test_by_hand(self, correction: Any, expected: list[list[float]]) -> None:
        got = importance_weights(self.TRAINER, self.SAMPLED, self.MASK, correction, 1.8)
        torch.testing.assert_close(got, torch.tensor(expected))

    @pytest.mark.parametrize("correction", CORRECTIONS)
    def test_a_token_the_sampler_does_not_know_counts_as_matching(self, correction: Any) -> None:
        sampled = self.SAMPLED.clone()
        sampled[0, 0] = torch.nan
        trainer = self.TRAINER.clone()
        trainer[0, 0] = 0.0
        expected = importance_weights(trainer, self.SAMPLED, self.MASK, correction, 1.8)
        assert torch.equal(importance_weights(self.TRAINER, sampled, self.MASK, correction, 1.8), expected)

    @pytest.mark.parametrize(
        ("correction", "weight"),
        [("token_truncate", 2.0), ("token_mask", 0.0), ("sequence_truncate", 2.0), ("sequence_mask", 0.0)],
    )
    def test_a_ratio_beyond_float32_is_capped(self, correction: Any, weight: float) -> None:
        mask = torch.ones(1, 2, dtype=torch.bool)
        got = importance_weights(torch.full((1, 2), 99.0), torch.zeros(1, 2), mask, correction, 2.0)
        assert got.tolist() == [[weight, weight]]

    @pytest.mark.parametrize("correction", ["none", *CORRECTIONS])
    @given(seed=SEEDS, cap=st.floats(1.0, 3.0), order=st.permutations(range(4)))
    @settings(max_examples=20, deadline=None)
    def test_bounds_and_independence_of_rows(self, correction: Any, seed: int, cap: float, order: list[int]) -> None:
        rng = np.random.default_rng(seed)
        trainer, sampled = (torch.from_numpy(rng.normal(size=(4, 6))) for _ in range(2))
        mask = torch.arange(6) < torch.from_numpy(rng.integers(1, 7, 4))[:, None]
        weights = importance_weights(trainer, sampled, mask, correction, cap)
        assert ((weights >= 0) & (weights <= cap)).all()
        assert not weights[~mask].any()
        assert torch.equal(
            importance_weights(trainer[order], sampled[order], mask[order], correction, cap), weights[order]
        )
        equal = importance_weights(trainer, trainer, mask, correction, cap)
        assert torch.equal(equal, mask.double())


class TestPolicyLoss:
    def test_by_hand(self) -> None:
        # A = 2, 2, -1, -1: max(-3, -2.56) = -2.56; max(-1, -1.6) = -1; max(1.1, 1.1) = 1.1; max(.5, .8) = .8
        terms, gradient = loss_of([1.5, 0.5, 1.1, 0.5], [2.0, 2.0, -1.0, -1.0])
        assert terms.loss.item() == pytest.approx((-2.56 - 1.0 + 1.1 + 0.8) / 4)
        np.testing.assert_allclose(gradient.numpy(), [0.0, -1.0 / 4, 1.1 / 4, 0.0], atol=1e-12)
        assert terms.clip_fraction_high.item() == terms.clip_fraction_low.item() == pytest.approx(1 / 4)
        assert terms.clip_fraction.item() == pytest.approx(2 / 4)
        assert terms.ratio.item() == pytest.approx(3.6 / 4)
        assert terms.ratio_max.item() == pytest.approx(1.5)
        expected = sum(math.log(x) ** 2 for x in (1.5, 0.5, 1.1, 0.5)) / 8
        assert terms.approx_kl.item() == pytest.approx(expected)

    def test_clip_higher_follows_a_good_token_further(self) -> None:
        assert loss_of([1.25], [1.0])[1].item() == pytest.approx(-1.25)
        assert loss_of([1.25], [1.0], clip_high=0.2)[1].item() == 0.0

    @pytest.mark.parametrize(("advantage", "sign"), [(1.0, -1), (-1.0, 1)])
    def test_descending_makes_good_tokens_likelier_and_bad_ones_rarer(self, advantage: float, sign: int) -> None:
        assert sign * loss_of([1.0], [advantage])[1].item() > 0

    @pytest.mark.parametrize(("ratio", "expected", "slope"), [(2.9, 2.9, 2.9), (3.1, 3.0, 0.0), (50.0, 3.0, 0.0)])
    def test_dual_clip_bounds_a_bad_token(self, ratio: float, expected: float, slope: float) -> None:
        terms, gradient = loss_of([ratio], [-1.0], dual_clip=3.0)
        assert terms.loss.item() == pytest.approx(expected)
        assert gradient.item() == pytest.approx(slope)
        assert terms.clip_fraction.item() == float(slope == 0.0)
        assert terms.clip_fraction_low.item() == terms.clip_fraction_high.item() == 0.0

    @pytest.mark.parametrize("ratio", [0.1, 0.9, 1.1, 50.0])
    def test_dual_clip_leaves_good_tokens_and_low_ratios_alone(self, ratio: float) -> None:
        with_it, without = (loss_of([ratio, 0.5], [1.0, -1.0], dual_clip=c) for c in (3.0, None))
        assert with_it[0] == without[0]
        assert torch.equal(with_it[1], without[1])

    def test_no_dual_clip_follows_a_bad_token_without_end(self) -> None:
        terms, gradient = loss_of([50.0], [-1.0])
        assert terms.loss.item() == gradient.item() == pytest.approx(50.0)

    def test_importance_scales_the_loss_and_is_no_variable(self) -> None:
        importance = torch.tensor([2.0, 0.0], dtype=torch.float64, requires_grad=True)
        terms, gradient = loss_of([1.1, 0.9], [1.0, 1.0], importance=importance)
        assert terms.loss.item() == pytest.approx(-1.1)
        np.testing.assert_allclose(gradient.numpy(), [-1.1, 0.0], atol=1e-12)
        assert importance.grad is None
        assert terms.ratio.item() == pytest.approx(1.0)

    def test_a_token_without_weight_is_not_read(self) -> None:
        weights = torch.tensor([1.0, 0.0], dtype=torch.float64)
        terms, gradient = loss_of([0.9, math.inf], [1.0, -1.0], weights=weights)
        assert terms.loss.item() == pytest.approx(-0.9)
        np.testing.assert_allclose(gradient.numpy(), [-0.9, 0.0], atol=1e-12)
        assert terms.ratio_max.item() == pytest.approx(0.9)

    def test_shares_weigh_the_statistics_and_not_the_loss(self) -> None:
        columns = [1.5, 0.5, 4.0], [1.0, -1.0, -1.0]
        weights = torch.tensor([0.1, 0.2, 0.3], dtype=torch.float64)
        plain, slopes = loss_of(*columns, weights=weights, dual_clip=3.0)
        shares = torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64)
        terms, gradient = loss_of(*columns, weights=weights, shares=shares, dual_clip=3.0)
        assert terms.loss.item() == plain.loss.item() == pytest.approx(-0.1 * 1.28 + 0.2 * 0.8 + 0.3 * 3.0)
        assert torch.equal(gradient, slopes)
        assert plain.ratio.item() == pytest.approx(0.1 * 1.5 + 0.2 * 0.5 + 0.3 * 4.0)
        assert terms.ratio.item() == pytest.approx(0.5 * 1.5 + 0.3 * 0.5 + 0.2 * 4.0)
        squares = [math.log(ratio) ** 2 / 2 for ratio in columns[0]]
        assert terms.approx_kl.item() == pytest.approx(np.dot([0.5, 0.3, 0.2], squares))
        assert terms.clip_fraction_high.item() == pytest.approx(0.5)
        assert terms.clip_fraction_low.item() == pytest.approx(0.3)
        assert terms.clip_fraction.item() == pytest.approx(1.0)

    def test_no_tokens(self) -> None:
        terms, gradient = loss_of([], [])
        assert [term.item() for term in terms] == [0.0] * len(terms)
        assert gradient.shape == (0,)

    @pytest.mark.parametrize("advantage", [1.0, -1.0])
    def test_an_overflow_that_a_clip_holds_leaves_no_nan(self, advantage: float) -> None:
        logprobs = torch.tensor([200.0], requires_grad=True)  # exp overflows float32
        loss = policy_loss(
            logprobs,
            torch.zeros(1),
            torch.tensor([advantage]),
            torch.ones(1),
            clip_low=0.2,
            clip_high=0.2,
            dual_clip=3.0,
            importance=None,
        ).loss
        loss.backward()
        assert loss.item() == pytest.approx(-1.2 if advantage > 0 else 3.0)
        assert logprobs.grad is not None
        assert logprobs.grad.item() == 0.0

    @given(SEEDS)
    @settings(max_examples=25, deadline=None)
    def test_equal_policies_give_the_policy_gradient(self, seed: int) -> None:
        advantages = np.random.default_rng(seed).normal(size=8)
        terms, gradient = loss_of([1.0] * 8, advantages.tolist(), dual_clip=3.0)
        np.testing.assert_allclose(gradient.numpy(), -advantages / 8, atol=1e-12)
        assert terms.loss.item() == pytest.approx(-advantages.mean())
        assert terms.ratio.item() == terms.ratio_max.item() == 1.0
        assert terms.clip_fraction.item() == terms.approx_kl.item() == 0.0

    @given(SEEDS, st.integers(0, 12))
    @settings(max_examples=25, deadline=None)
    def test_micro_batches_add_up(self, seed: int, cut: int) -> None:
        rng = np.random.default_rng(seed)
        ratios, advantages = np.exp(rng.normal(size=12)), rng.normal(size=12)
        weights = torch.from_numpy(rng.dirichlet(np.ones(12)))
        whole, slopes = loss_of(ratios.tolist(), advantages.tolist(), weights=weights, dual_clip=2.0)
        parts = [
            loss_of(ratios[part].tolist(), advantages[part].tolist(), weights=weights[part], dual_clip=2.0)
            for part in (slice(0, cut), slice(cut, 12))
        ]
        for name in PolicyTerms._fields[:-1]:
            total = sum(getattr(terms, name).item() for terms, _ in parts)
            assert total == pytest.approx(getattr(whole, name).item(), abs=1e-12)
        assert max(terms.ratio_max.item() for terms, _ in parts) == whole.ratio_max.item()
        assert torch.equal(torch.cat([gradient for _, gradient in parts]), slopes)


def test_only_the_loss_has_a_gradient() -> None:
    terms, _ = loss_of([1.5, 0.5], [1.0, 1.0])
    assert [term.requires_grad for term in terms] == [True] + [False] * (len(terms) - 1)


class TestValueLoss:
    HALVES = torch.tensor([0.5, 0.5])

    def test_by_hand(self) -> None:
        # old 0, clip 0.2: V = 1 -> clipped .2; against R = 1: max(0, .64); V = .1, R = 0: max(.01, .01).
        columns = torch.tensor([1.0, 0.1]), torch.zeros(2), torch.tensor([1.0, 0.0]), self.HALVES
        assert value_loss(*columns, clip_range=0.2).item() == pytest.approx(0.5 * (0.64 + 0.01) / 2, abs=1e-6)
        assert value_loss(*columns, clip_range=None).item() == pytest.approx(0.5 * 0.01 / 2, abs=1e-6)

    @pytest.mark.parametrize("clip_range", [None, 0.2])
    @pytest.mark.parametrize(("value", "sign"), [(0.1, -1), (-0.1, 1)])
    def test_descending_moves_towards_the_return(self, clip_range: float | None, value: float, sign: int) -> None:
        values = torch.tensor([value], requires_grad=True)
        returns = torch.tensor([5.0 * -sign])
        value_loss(values, torch.zeros(1), returns, torch.ones(1), clip_range=clip_range).backward()
        assert values.grad is not None
        assert values.grad.item() == pytest.approx(value - returns.item(), abs=1e-6)
        assert sign * values.grad.item() > 0

    @pytest.mark.parametrize("value", [0.3, 4.0])
    def test_a_value_beyond_the_clip_on_the_way_to_the_return_is_held(self, value: float) -> None:
        values = torch.tensor([value], requires_grad=True)
        value_loss(values, torch.zeros(1), torch.tensor([5.0]), torch.ones(1), clip_range=0.2).backward()
        assert values.grad is not None
        assert values.grad.item() == 0.0

    @given(SEEDS, st.integers(0, 12))
    @settings(max_examples=25, deadline=None)
    def test_micro_batches_add_up_and_the_clip_only_adds(self, seed: int, cut: int) -> None:
        rng = np.random.default_rng(seed)
        columns = [torch.from_numpy(rng.normal(size=12)) for _ in range(3)] + [torch.from_numpy(rng.random(12))]
        whole = value_loss(*columns, clip_range=0.2).item()
        parts = (value_loss(*(c[part] for c in columns), clip_range=0.2) for part in (slice(0, cut), slice(cut, 12)))
        assert sum(part.item() for part in parts) == pytest.approx(whole, abs=1e-12)
        assert whole >= value_loss(*columns, clip_range=None).item()
