"""How sure the candidates' objectives are, over items and over training seeds.

A candidate's objective is the mean over its trials of each one's. Two things make it uncertain:

- Items. The bootstrap of _draws resamples them, the same for all trials; the draws of a candidate are the mean of its
  trials' draws.
- Seeds. Trials at one point differ by more than their items explain. With two to five seeds a point, resampling them
  is far too narrow (of two seeds, half of the resamples hold one of them twice). So their variance is pooled over the
  study's points: of S_p trials at point p with objectives f_ps,

      between = sum_ps (f_ps - mean_s f_ps)^2 / dof,   dof = sum_p (S_p - 1).

  Its expectation is the seeds' variance plus what items add to differences within a point; that part the item draws
  show and hold already. Hence each draw takes a variance from between * dof / chi^2(dof), the fiducial distribution of
  a normal variance (Fisher 1935; for sums of variance components Tsui and Weerahandi 1989), less the items' part where
  that leaves anything, and moves each candidate by a normal number of that variance over S_p. Where seeds are all
  the noise there is, the intervals are Student's.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bai_sweep.selection._candidates import Candidate
from bai_sweep.selection._draws import Floats, benchmark_draws, best_probabilities
from bai_sweep.selection._objective import Objective

LEVEL = 0.95
"""Of every interval."""
_MAY_LEAD = 0.005


@dataclass(frozen=True)
class SeedNoise:
    """The variance between seeds at one point, pooled over points.

    Args:
        between: of the objective, as observed; NaN without replicates.
        items: the part of it that the choice of items explains.
        dof: degrees of freedom.
    """

    between: float = math.nan
    items: float = 0.0
    dof: int = 0

    @property
    def variance(self) -> float:
        """Of the seeds alone; NaN without replicates."""
        return max(0.0, self.between - self.items) if self.dof else math.nan

    def drawn(self, resamples: int, rng: np.random.Generator) -> Floats:
        """Variances that the seeds may have, of shape (resamples,); 0 without replicates: nothing is known."""
        if not self.dof:
            return np.zeros(resamples)
        whole = self.between * self.dof / rng.chisquare(self.dof, resamples)
        return np.maximum(whole - self.items, 0.0)


@dataclass(frozen=True)
class Measured:
    """Candidates' objectives and their uncertainty.

    Args:
        values: shape (candidates,).
        item_draws: over items alone, shape (resamples, candidates).
        draws: over items and seeds, same shape.
        replicates: of each candidate; infinite where there is no RL, so that seeds change nothing.
        seed_noise: between the seeds of a trained point.
    """

    values: Floats
    item_draws: Floats
    draws: Floats
    replicates: Floats
    seed_noise: SeedNoise

    def intervals(self) -> Floats:
        """Of each candidate by itself, of shape (2, candidates)."""
        bounds: Floats = np.quantile(self.draws, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=0)
        return bounds

    def chance_ahead(self, one: int, other: int) -> float:
        """The probability that candidate `one` is better than `other`; equality counts half."""
        difference = self.draws[:, one] - self.draws[:, other]
        return float((difference > 0).mean() + (difference == 0).mean() / 2)

    def difference(self, one: int, other: int) -> tuple[float, tuple[float, float]]:
        """Candidate `one`'s objective less the other's, with the interval of this one difference."""
        low, high = _interval(self.draws[:, [one]] - self.draws[:, [other]])[:, 0]
        return float(self.values[one] - self.values[other]), (float(low), float(high))

    def behind(self, leader: int) -> tuple[Floats, Floats]:
        """How far each candidate is behind the one that was found to lead: values, and intervals, (2, candidates).

        The leader is picked by the same scores, which makes a plain interval of the difference too hopeful; these hold
        for all pairs together (by the largest deviation over all pairs: Tukey's range for unequal variances), and so
        whichever leads. Of pairs only those count of which one leads in one of 200 draws at least.
        """
        values = self.values[leader] - self.values
        own = _interval(self.draws[:, [leader]] - self.draws)
        factor = self._together()
        return values, values + factor * (own - values)

    def _together(self) -> float:
        """What widens intervals of single differences so that all hold at once; 1 for two candidates."""
        if len(self.values) <= 2:
            return 1.0
        worst = np.zeros(len(self.draws))
        for one in np.flatnonzero(best_probabilities(self.draws) >= _MAY_LEAD):
            deviations = self.draws[:, [one]] - self.draws
            low, high = _interval(deviations)
            centre = self.values[one] - self.values
            deviations -= centre
            reach = np.where(deviations > 0, high - centre, centre - low)
            scaled = np.divide(np.abs(deviations), reach, out=np.zeros_like(deviations), where=reach > 0)
            np.maximum(worst, scaled.max(axis=1), out=worst)
        return max(1.0, float(np.quantile(worst, LEVEL)))


def measure(chosen: Sequence[Candidate], objective: Objective, resamples: int, seed: int) -> Measured:
    """Objectives of candidates that all have the benchmarks it needs.

    Args:
        chosen: one at least.
        objective: finite for each of their trials.
        resamples: of items and seeds.
        seed: of both.
    """
    members = [member for candidate in chosen for member in candidate.members]
    owner = np.repeat(np.arange(len(chosen)), [len(candidate.members) for candidate in chosen])
    single = np.array([objective.value(member) for member in members])
    draws = objective.of_draws(benchmark_draws(members, objective.needed, resamples, seed), members)
    draws = np.where(np.isfinite(draws), draws, single)  # an expression may have no value at some draws
    mean = (owner[:, None] == np.arange(len(chosen))).astype(np.float64)  # (trials, candidates)
    mean /= mean.sum(axis=0)
    values, item_draws = single @ mean, draws @ mean
    trained = np.array([candidate.is_trained for candidate in chosen])
    noise = _pooled(single - values[owner], draws - item_draws[:, owner], owner, trained)
    replicates = np.where(trained, [len(candidate.members) for candidate in chosen], np.inf)
    rng = np.random.default_rng([seed, 1])
    moved = np.sqrt(noise.drawn(resamples, rng)[:, None] / replicates)
    moved = moved * rng.standard_normal((resamples, len(chosen)))
    return Measured(values, item_draws, item_draws + moved, replicates, noise)


def _pooled(deviations: Floats, drawn: Floats, owner: NDArray[np.intp], trained: Floats) -> SeedNoise:
    """From trials' deviations from their point's mean, (trials,), and the same on each draw, (resamples, trials)."""
    counted = trained[owner]
    dof = int(counted.sum() - len(set(owner[counted])))
    if not dof:
        return SeedNoise()
    between = float(np.square(deviations[counted]).sum() / dof)
    return SeedNoise(between, float(drawn[:, counted].var(axis=0).sum() / dof), dof)


def _interval(draws: Floats) -> Floats:
    """Of shape (2, columns)."""
    bounds: Floats = np.quantile(draws, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=0)
    return bounds
