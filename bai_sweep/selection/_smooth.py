"""A Gaussian process over one number, with every observation's own error, and its own doubt about its settings.

y = m + f(x) + e, f with a Matern 5/2 kernel (Rasmussen and Williams 2006, chapters 2 and 5), e normal with a known
covariance; m has a flat prior. Scale and length of the kernel are not chosen but averaged over a grid, each setting
weighted by its marginal likelihood: with a handful of points the best one would be too sure.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from bai_sweep.selection._draws import Floats

_LENGTHS = np.geomspace(0.15, 3.0, 10)  # of the range of x
_SCALES = np.geomspace(0.25, 4.0, 9)  # of the spread of y
_NUGGETS = (0.0, 0.15, 0.4, 0.8)  # of the spread of y, where the seeds' noise is not known


@dataclass(frozen=True)
class Posterior:
    """What the process says of some places, a row of `means` and a matrix of `covariances` for each setting.

    Args:
        weights: of the settings, summing to 1.
        means: shape (settings, places).
        covariances: shape (settings, places, places).
    """

    weights: Floats
    means: Floats
    covariances: Floats

    @property
    def mean(self) -> Floats:
        """Shape (places,)."""
        averaged: Floats = self.weights @ self.means
        return averaged

    def drawn(self, count: int, seed: int) -> Floats:
        """Draws of f at the places, of shape (count, places)."""
        rng = np.random.default_rng(seed)
        parts = []
        for setting, times in enumerate(rng.multinomial(count, self.weights)):
            if times:
                values, vectors = np.linalg.eigh(self.covariances[setting])
                root = vectors * np.sqrt(np.maximum(values, 0.0))
                parts.append(self.means[setting] + rng.standard_normal((times, len(values))) @ root.T)
        return np.concatenate(parts)


def fit(x: Floats, y: Floats, noise: Floats, at: Floats, *, nugget: bool) -> Posterior:
    """Conditions the process on observations.

    Args:
        x: where, shape (n,), not all alike.
        y: what was seen, shape (n,).
        noise: covariance of the errors of y, shape (n, n).
        at: places to tell of, shape (m,).
        nugget: whether y has further noise of an unknown size.
    """
    low, span = x.min(), np.ptp(x)
    x, at = (x - low) / span, (at - low) / span
    spread = float(y.std()) or 1.0
    logs, means, covariances = [], [], []
    for length in _LENGTHS:
        for scale in _SCALES:
            for extra in _NUGGETS if nugget else (0.0,):
                variance = (scale * spread) ** 2
                error = noise + ((extra * spread) ** 2 + 1e-9 * variance) * np.eye(len(x))
                log, mean, covariance = _conditioned(x, y, at, error, variance=variance, length=length)
                logs.append(log)
                means.append(mean)
                covariances.append(covariance)
    weights = np.exp(np.array(logs) - max(logs))
    return Posterior(weights / weights.sum(), np.array(means), np.array(covariances))


def _conditioned(
    x: Floats, y: Floats, at: Floats, error: Floats, *, variance: float, length: float
) -> tuple[float, Floats, Floats]:
    """Log marginal likelihood, posterior mean and covariance; m integrated out (Rasmussen and Williams, 2.42)."""
    root = np.linalg.cholesky(variance * matern(x[:, None] - x, length) + error)
    ones = np.ones(len(x))

    def solved(right: Floats) -> Floats:
        found: Floats = np.linalg.solve(root.T, np.linalg.solve(root, right))
        return found

    inverse_ones = solved(ones)
    precision = float(ones @ inverse_ones)
    level = float(inverse_ones @ y) / precision
    residual = solved(y - level)
    cross = variance * matern(at[:, None] - x, length)
    mean = level + cross @ residual
    left = 1.0 - cross @ inverse_ones
    covariance = (
        variance * matern(at[:, None] - at, length) - cross @ solved(cross.T) + np.outer(left, left) / precision
    )
    log = -0.5 * float((y - level) @ residual) - float(np.log(np.diag(root)).sum()) - 0.5 * math.log(precision)
    return log, mean, covariance


def matern(distance: Floats, length: float) -> Floats:
    """The Matern 5/2 correlation at these distances."""
    scaled = math.sqrt(5.0) * np.abs(distance) / length
    correlation: Floats = (1.0 + scaled + scaled**2 / 3.0) * np.exp(-scaled)
    return correlation
