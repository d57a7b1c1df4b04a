"""Benchmark scores as other samples of items would have given them: a paired bootstrap over items or clusters.

Every resample draws the same items for every trial, so that an item hard for all moves all alike and only the
trials' differences count (Efron and Tibshirani 1993, chapter 8; Koehn 2004 for systems compared on one test set).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from bai_sweep.records import Score, TrialResult
from bai_sweep.statistics import grouped, influences

Floats = NDArray[np.float64]
TIE = 1e-9  # points; scores closer than this are equal
_CHUNK = 4_000_000  # counts held at a time, 32 MB


def benchmark_draws(
    results: Sequence[TrialResult], benchmarks: Sequence[str], resamples: int, seed: int
) -> dict[str, Floats]:
    """Scores of `resamples` resampled evaluations, in points, by benchmark, each of shape (resamples, trials).

    Their standard deviation is the score's standard error. A benchmark whose items cannot be paired (not stored, or of
    different numbers) gives independent normal draws of its standard error instead. All trials have the benchmarks.
    """
    rng = np.random.default_rng(seed)
    by_name = [{score.benchmark: score for score in result.report.scores} for result in results]
    return {name: _draws([scores[name] for scores in by_name], resamples, rng) for name in sorted(benchmarks)}


def best_probabilities(draws: Floats) -> Floats:
    """The share of the draws, of shape (resamples, trials), in which each trial is best; a tie is shared."""
    best = draws >= draws.max(axis=1, keepdims=True) - TIE
    shares: Floats = (best / best.sum(axis=1, keepdims=True)).mean(axis=0)
    return shares


def noise_is_known(results: Sequence[TrialResult], benchmarks: Sequence[str]) -> bool:
    """Whether every score has items, or at least a standard error, to tell its noise from."""
    scores = [score for result in results for score in result.report.scores if score.benchmark in benchmarks]
    return all(_resamples(score) or math.isfinite(score.stderr) for score in scores)


def _draws(scores: Sequence[Score], resamples: int, rng: np.random.Generator) -> Floats:
    values = np.array([score.value for score in scores])
    if all(_resamples(score) for score in scores):
        pulls = [influences(grouped(score.items, score.weights, score.clusters)) for score in scores]
        if len({(len(score.items), score.clusters) for score in scores}) == 1:
            return values + _resampled(np.array(pulls), resamples, rng)
    noise = np.nan_to_num(np.array([score.stderr for score in scores]))
    draws: Floats = values + rng.standard_normal((resamples, len(scores))) * noise
    return draws


def _resamples(score: Score) -> bool:
    """Whether it has more than one item, or cluster of items, to draw from."""
    return len(set(score.clusters) if score.clusters else score.items) > 1


def _resampled(pulls: Floats, resamples: int, rng: np.random.Generator) -> Floats:
    """Sums over n clusters drawn with replacement, the same ones in each row; (trials, n) -> (resamples, trials).

    Scaled by sqrt(n / (n - 1)): the plain bootstrap's variance is that much too small (Efron and Tibshirani, 5.3).
    """
    n = pulls.shape[1]
    rows = max(1, _CHUNK // n)
    scaled = math.sqrt(n / (n - 1)) * pulls.T
    chunks = []
    for start in range(0, resamples, rows):
        # How often each is drawn: the same law as drawing indices, and one matrix product to add up.
        counts = rng.multinomial(n, np.full(n, 1 / n), size=min(rows, resamples - start))
        chunks.append(counts @ scaled)
    return np.concatenate(chunks)
