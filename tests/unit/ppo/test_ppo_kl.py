"""The KL estimators by hand, by enumeration and by integration; the controller by hand."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import integrate, stats
from torch import Tensor

from bai_sweep.ppo.formulas import KLController, kl_estimate
from bai_sweep.records import UserError

POLICY, REFERENCE = np.array([0.7, 0.2, 0.1]), np.array([0.2, 0.3, 0.5])


class TestEstimates:
    @pytest.mark.parametrize(
        ("estimator", "expected"),
        [("k1", math.log(2)), ("k2", math.log(2) ** 2 / 2), ("k3", 0.5 - 1 + math.log(2)), ("abs", math.log(2))],
    )
    def test_by_hand_for_a_token_made_twice_as_likely(self, estimator: Any, expected: float) -> None:
        policy, reference = torch.tensor([math.log(0.5)]), torch.tensor([math.log(0.25)])
        assert kl_estimate(policy, reference, estimator).item() == pytest.approx(expected, abs=1e-6)

    @pytest.mark.parametrize(
        ("estimator", "expected"),
        [("k1", -math.log(2)), ("k2", math.log(2) ** 2 / 2), ("k3", 2 - 1 - math.log(2)), ("abs", math.log(2))],
    )
    def test_by_hand_for_a_token_made_half_as_likely(self, estimator: Any, expected: float) -> None:
        policy, reference = torch.tensor([math.log(0.25)]), torch.tensor([math.log(0.5)])
        assert kl_estimate(policy, reference, estimator).item() == pytest.approx(expected, abs=1e-6)

    @pytest.mark.parametrize("estimator", ["k1", "k3"])
    def test_unbiased(self, estimator: Any) -> None:
        per_token = kl_estimate(torch.from_numpy(np.log(POLICY)), torch.from_numpy(np.log(REFERENCE)), estimator)
        assert POLICY @ per_token.numpy() == pytest.approx(stats.entropy(POLICY, REFERENCE), abs=1e-12)

    @pytest.mark.parametrize("estimator", ["k1", "k2", "k3", "abs"])
    def test_gaussians_by_integration(self, estimator: Any) -> None:
        """r is normal with mean mu^2 / 2 (the KL) and variance mu^2: k2 means E[r^2] / 2, abs a folded normal."""
        mu = 0.5
        p, q = stats.norm(0, 1), stats.norm(mu, 1)
        x = np.linspace(-9, 9, 40001)
        per_point = kl_estimate(torch.from_numpy(p.logpdf(x)), torch.from_numpy(q.logpdf(x)), estimator).numpy()
        expected = {
            "k1": mu**2 / 2,
            "k2": (mu**2 + mu**4 / 4) / 2,
            "k3": mu**2 / 2,
            "abs": stats.foldnorm(mu / 2, scale=mu).mean(),
        }[estimator]
        assert integrate.simpson(p.pdf(x) * per_point, x=x) == pytest.approx(expected, abs=1e-6)

    @pytest.mark.parametrize("estimator", ["k2", "k3", "abs"])
    @given(policy=st.floats(-20, 0), reference=st.floats(-20, 0))
    def test_never_negative(self, estimator: Any, policy: float, reference: float) -> None:
        pair = torch.tensor([policy], dtype=torch.float64), torch.tensor([reference], dtype=torch.float64)
        assert kl_estimate(*pair, estimator).item() >= 0

    def test_k3_keeps_its_digits_near_zero(self) -> None:
        got = kl_estimate(torch.tensor([1e-3]), torch.tensor([0.0]), "k3").item()
        # The next terms of the series; a float32 exp(-r) - 1 + r is off by 10 % and more.
        assert got == pytest.approx(1e-6 / 2 - 1e-9 / 6, rel=1e-3)


class TestGradientsInALoss:
    """The mean gradient over the policy's tokens, enumerated, against that of the divergence the docstring names."""

    def mean_gradient(self, estimator: Any) -> Tensor:
        logits = torch.from_numpy(np.log(POLICY)).requires_grad_()
        logprobs = logits.log_softmax(0)
        per_token = kl_estimate(logprobs, torch.from_numpy(np.log(REFERENCE)), estimator)
        (logprobs.detach().exp() * per_token).sum().backward()
        assert logits.grad is not None
        return logits.grad

    def exact_gradient(self, divergence: Any) -> Tensor:
        logits = torch.from_numpy(np.log(POLICY)).requires_grad_()
        divergence(logits.softmax(0), torch.from_numpy(REFERENCE)).backward()
        assert logits.grad is not None
        return logits.grad

    def test_k1_has_none(self) -> None:
        torch.testing.assert_close(self.mean_gradient("k1"), torch.zeros(3, dtype=torch.float64))

    def test_k2_has_that_of_the_reverse_kl(self) -> None:
        expected = self.exact_gradient(lambda p, q: (p * (p / q).log()).sum())
        torch.testing.assert_close(self.mean_gradient("k2"), expected)

    def test_k3_has_that_of_the_forward_kl(self) -> None:
        expected = self.exact_gradient(lambda p, q: (q * (q / p).log()).sum())
        torch.testing.assert_close(self.mean_gradient("k3"), expected)

    def test_abs_has_that_of_the_absolute_difference(self) -> None:
        expected = self.exact_gradient(lambda p, q: (p - q).abs().sum())
        torch.testing.assert_close(self.mean_gradient("abs"), expected)

    @pytest.mark.parametrize("estimator", ["k2", "k3", "abs"])
    def test_descending_it_leads_back_to_the_reference(self, estimator: Any) -> None:
        logits = torch.from_numpy(np.log(POLICY)) - 0.1 * self.mean_gradient(estimator)
        assert stats.entropy(logits.softmax(0).numpy(), REFERENCE) < stats.entropy(POLICY, REFERENCE)


class TestController:
    def test_by_hand(self) -> None:
        controller = KLController(0.1, 5.0, 100)
        controller.update(5.5, 50)  # error 0.1, half a horizon
        assert controller.coef == pytest.approx(0.1 * 1.05)
        controller.update(50.0, 50)  # error 9, clipped to 0.2
        assert controller.coef == pytest.approx(0.1 * 1.05 * 1.1)
        controller.update(-3.0, 100)  # clipped to -0.2, a whole horizon
        assert controller.coef == pytest.approx(0.1 * 1.05 * 1.1 * 0.8)

    def test_without_a_target_it_stays(self) -> None:
        controller = KLController(0.1, None, 100)
        controller.update(50.0, 1000)
        assert controller.coef == 0.1

    @given(kl=st.floats(-100, 100), episodes=st.integers(1, 100))
    def test_it_rises_above_the_target_falls_below_and_stays_positive(self, kl: float, episodes: int) -> None:
        controller = KLController(0.1, 5.0, 100)
        controller.update(kl, episodes)
        assert controller.coef > 0
        assert (controller.coef - 0.1) * (kl - 5.0) >= 0

    def test_it_reaches_its_target(self) -> None:
        """A policy whose KL is inversely proportional to the coefficient is brought to the target."""
        controller = KLController(0.01, 6.0, 640)
        for _ in range(400):
            controller.update(0.3 / controller.coef, 64)
        assert 0.3 / controller.coef == pytest.approx(6.0, rel=1e-3)

    def test_more_episodes_than_its_horizon_are_refused(self) -> None:
        with pytest.raises(UserError, match="horizon of 10 for 64 episodes"):
            KLController(0.1, 6.0, 10).update(0.0, 64)

    def test_it_goes_on_from_its_state(self) -> None:
        whole, stopped = KLController(0.1, 6.0, 100), KLController(0.1, 6.0, 100)
        whole.update(9.0, 10)
        stopped.update(9.0, 10)
        resumed = KLController(0.1, 6.0, 100)
        resumed.load_state_dict(stopped.state_dict())
        whole.update(3.0, 10)
        resumed.update(3.0, 10)
        assert resumed.coef == whole.coef != 0.1
