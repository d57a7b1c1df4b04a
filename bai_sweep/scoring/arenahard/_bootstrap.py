"""The official bootstraps over battles. A seed draws what it makes NumPy's global generator draw in official code."""

from __future__ import annotations

import numpy as np

from bai_sweep.scoring.arenahard._bradley_terry import Battles, Floats, ratings

ROUNDS = 100
SEED = 42  # official for v0.1; v2 is not seeded


def bootstrap_ratings(battles: Battles, anchor: str, *, rounds: int = ROUNDS, seed: int = SEED) -> Floats:
    """v0.1: ratings of as many battles drawn with replacement.

    Official code draws with `DataFrame.sample(frac=1, replace=True)` after `numpy.random.seed(42)`, which is
    `RandomState.choice`. As rows that are alike have one likelihood, each fit is over the distinct ones.

    Returns:
        Shape (rounds, models).
    """
    rows = np.stack([battles.first.astype(np.float64), battles.second.astype(np.float64), battles.won], axis=1)
    distinct, kind = np.unique(rows, axis=0, return_inverse=True)
    kind = kind.reshape(-1)
    shorter = Battles(battles.models, distinct[:, 0].astype(np.int64), distinct[:, 1].astype(np.int64), distinct[:, 2])
    generator = np.random.RandomState(seed)
    drawn = []
    for _ in range(rounds):
        picked = kind[generator.choice(len(rows), size=len(rows), replace=True)]
        counts = np.bincount(picked, minlength=len(distinct)).astype(np.float64)
        drawn.append(ratings(shorter, anchor, counts))
    return np.stack(drawn)


def bootstrap_means(won: Floats, *, rounds: int = ROUNDS, seed: int = SEED) -> Floats:
    """v2: mean share won of as many battles drawn with replacement, of one model.

    Official code draws with `groupby("model").sample(frac=1, replace=True)`, which is `RandomState.choice` for each
    model in turn.

    Returns:
        Shape (rounds,).
    """
    generator = np.random.RandomState(seed)
    return np.array([won[generator.choice(len(won), size=len(won), replace=True)].mean() for _ in range(rounds)])
