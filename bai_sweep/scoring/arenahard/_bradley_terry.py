"""Bradley-Terry ratings of models by maximum likelihood, and logistic regression by Newton's method beneath."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

SCALE, BASE, ANCHOR = 400.0, 10.0, 1000.0  # of the official ratings; the baseline has 1000
_STEPS, _HALVINGS = 100, 40
_TOLERANCE = 1e-10  # of the mean gradient


@dataclass(frozen=True)
class Battles:
    """Battles between models, one a row.

    Args:
        models: Their names.
        first: Index of one model of each battle.
        second: Index of the other.
        won: Share of the battle that the first won: 1, 0.5 or 0.
    """

    models: tuple[str, ...]
    first: Ints
    second: Ints
    won: Floats


def ratings(battles: Battles, anchor: str, counts: Floats | None = None) -> Floats:
    """Elo-scaled ratings, `P(first wins) = 1 / (1 + 10^((r_second - r_first) / 400))`.

    The official `compute_mle_elo` (show_result.py of v0.1) fits the same likelihood by L-BFGS to a tolerance, this one
    to its maximum. A model that won every battle has none; its rating is then where the mean gradient is below 1e-10.

    Args:
        battles: At least one.
        anchor: The model whose rating is 1000; every other is rated by its distance to it.
        counts: How often each battle counts, by default once.

    Returns:
        Shape (models,).
    """
    signs = np.zeros((len(battles.won), len(battles.models)))
    rows = np.arange(len(battles.won))
    np.add.at(signs, (rows, battles.first), 1.0)
    np.add.at(signs, (rows, battles.second), -1.0)
    place = battles.models.index(anchor)
    others = [i for i in range(len(battles.models)) if i != place]
    strengths = np.zeros(len(battles.models))
    strengths[others] = logistic_regression(signs[:, others], battles.won, counts)
    return ANCHOR + SCALE / math.log(BASE) * strengths


def win_rate(rating: float, baseline: float = ANCHOR) -> float:
    """Probability that a model of this rating beats one of the baseline's."""
    return float(1.0 / (1.0 + BASE ** ((baseline - rating) / SCALE)))


def logistic_regression(features: Floats, outcomes: Floats, counts: Floats | None = None) -> Floats:
    """Coefficients without intercept or penalty, by Newton's method with halved steps.

    Columns that say the same share their coefficient (the solution of least norm).

    Args:
        features: Shape (n, k).
        outcomes: Shape (n,), from 0 to 1: a tie is half a win.
        counts: Shape (n,), how often each row counts, by default once.

    Returns:
        Shape (k,).
    """
    counts = np.ones(len(outcomes)) if counts is None else counts
    coefficients = np.zeros(features.shape[1])
    likelihood = _log_likelihood(features @ coefficients, outcomes, counts)
    for _ in range(_STEPS):
        probabilities = 1.0 / (1.0 + np.exp(-(features @ coefficients)))
        gradient = features.T @ (counts * (outcomes - probabilities))
        if np.abs(gradient).max(initial=0.0) <= _TOLERANCE * counts.sum():
            break
        curvature = (features * (counts * probabilities * (1.0 - probabilities))[:, None]).T @ features
        step = np.linalg.lstsq(curvature, gradient, rcond=None)[0]
        for _ in range(_HALVINGS):
            reached = _log_likelihood(features @ (coefficients + step), outcomes, counts)
            if reached >= likelihood:
                break
            step = step / 2.0
        else:
            break  # no step helps: as far as float64 goes
        coefficients, likelihood = coefficients + step, reached
    return coefficients


def _log_likelihood(logits: Floats, outcomes: Floats, counts: Floats) -> float:
    return float(np.sum(counts * (outcomes * logits - np.logaddexp(0.0, logits))))
