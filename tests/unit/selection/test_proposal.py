"""The model over a swept number: its mathematics, and when it says nothing."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy import integrate, stats

from bai_sweep.records import Choice, TrialResult
from bai_sweep.selection import choose
from bai_sweep.selection._smooth import _LENGTHS, _SCALES, fit, matern
from tests.synthetic import RULE, score, trial, verdict

ALPHAS = (0.1, 0.2, 0.3, 0.6, 0.7, 0.8)


def _curve(alpha: float) -> float:
    """A smooth hill with its top at 0.45, where no trial was."""
    return float(60.0 + 15.0 * np.exp(-(((alpha - 0.45) / 0.25) ** 2) / 2))


def _study(collapsed: tuple[float, ...] = (), alphas: tuple[float, ...] = ALPHAS, **params: Any) -> list[TrialResult]:
    rng = np.random.default_rng(0)
    made = []
    for k, (alpha, seed) in enumerate((a, s) for a in alphas for s in (0, 1)):
        verdicts = [verdict("length_collapse", "certain", 3)] if alpha in collapsed else []
        items = _curve(alpha) + rng.normal(0, 0.3) + np.array([20.0, -20.0] * 30)
        one = trial(k, {"alpha": alpha, "seed": seed, **params}, scores=[score("b", items)], verdicts=verdicts)
        made.append(replace(one, seed=seed))
    return made


def _chosen(results: list[TrialResult]) -> Choice:
    return choose(results, RULE, 0)


def test_a_better_place_between_the_tried_ones_is_guessed_and_said_to_be_a_guess() -> None:
    choice = _chosen(_study())
    proposal, best = choice.proposal, choice.standings[0].label
    assert proposal is not None
    assert proposal.key == "alpha"
    assert 0.38 <= proposal.value <= 0.52
    assert proposal.low <= _curve(proposal.value) <= proposal.high
    assert proposal.low < proposal.predicted < proposal.high
    assert proposal.gain_probability > 0.8
    assert "A smooth model of the trials guesses that alpha=0.4" in proposal.reason
    assert "Nobody has tried it yet: confirm it" in proposal.reason
    assert best in ("alpha=0.3", "alpha=0.6")
    assert proposal.confirm.overrides == (f"{best},{proposal.value:g}", "seed=2,3")
    assert proposal.confirm.command == f"python -m bai_sweep -m {best},{proposal.value:g} seed=2,3"


@pytest.mark.parametrize(
    "results",
    [
        pytest.param(_study(alphas=(0.1, 0.3, 0.6)), id="three points"),
        pytest.param(_study(collapsed=(0.3, 0.8)), id="a collapsed neighbour on one side of the gap"),
        pytest.param(_study(collapsed=(0.6,)), id="on the other side"),
    ],
)
def test_nothing_is_guessed(results: list[TrialResult]) -> None:
    choice = _chosen(results)
    assert choice.winner is not None
    assert choice.proposal is None or not 0.3 <= choice.proposal.value <= 0.6


def test_nothing_is_guessed_where_more_than_a_number_is_swept() -> None:
    results = _study()
    other = [replace(r, number=20 + r.number, params={**r.params, "rl": "vapo"}) for r in results[:2]]
    both = [replace(r, params={**r.params, "rl": "ppo"}) for r in results]
    assert _chosen([*both, *other]).proposal is None
    assert _chosen(both).proposal is not None  # rl is the same everywhere


def test_matern_is_the_textbooks() -> None:
    """Against its spectral density, a Student t with 5 degrees of freedom (Rasmussen and Williams, equation 4.15)."""
    density = stats.t(5).pdf
    for distance in (0.1, 0.5, 1.3):
        by_integral, _ = integrate.quad(density, 0, 200, weight="cos", wvar=distance / 0.7, limit=500)
        assert float(matern(np.array(distance), 0.7)) == pytest.approx(2 * by_integral, abs=1e-4)


def test_posterior_is_the_normal_conditional() -> None:
    """Each setting against conditioning one joint normal whose mean has a very wide prior."""
    x, y, at = np.array([0.0, 0.4, 1.0]), np.array([1.0, 3.0, 2.0]), np.array([0.25, 0.7])
    noise = np.array([[0.3, 0.1, 0.0], [0.1, 0.2, 0.0], [0.0, 0.0, 0.5]])
    posterior = fit(x, y, noise, at, nugget=False)
    everywhere = np.concatenate([x, at])
    logs = []
    wide = 1e5
    for k, (length, scale) in enumerate((length, scale) for length in _LENGTHS for scale in _SCALES):
        variance = (scale * y.std()) ** 2
        joint = variance * matern(everywhere[:, None] - everywhere, length) + wide
        joint[:3, :3] += noise + 1e-9 * variance * np.eye(3)
        gain = joint[3:, :3] @ np.linalg.inv(joint[:3, :3])
        assert posterior.means[k] == pytest.approx(gain @ y, rel=1e-3)
        assert posterior.covariances[k] == pytest.approx(joint[3:, 3:] - gain @ joint[:3, 3:], rel=5e-3, abs=1e-3)
        logs.append(stats.multivariate_normal(np.zeros(3), joint[:3, :3]).logpdf(y))
    weights = np.exp(np.array(logs) - max(logs))
    assert posterior.weights == pytest.approx(weights / weights.sum(), abs=1e-3)


def test_draws_have_the_posteriors_mean_and_spread() -> None:
    x, y = np.array([0.0, 0.5, 1.0]), np.array([1.0, 2.0, 0.0])
    posterior = fit(x, y, 0.2 * np.eye(3), np.array([0.3, 0.8]), nugget=True)
    draws = posterior.drawn(200_000, 0)
    assert draws.mean(axis=0) == pytest.approx(posterior.mean, abs=0.02)
    second = np.einsum("k,kij->ij", posterior.weights, posterior.covariances)
    apart = posterior.means - posterior.mean
    second += np.einsum("k,ki,kj->ij", posterior.weights, apart, apart)
    assert np.cov(draws, rowvar=False) == pytest.approx(second, rel=0.05, abs=0.02)
