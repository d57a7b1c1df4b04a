"""Style control: Bradley-Terry with the difference in style beside the models (show_result.py of v2)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass

import numpy as np

from bai_sweep.scoring.arenahard._bootstrap import ROUNDS, SEED
from bai_sweep.scoring.arenahard._bradley_terry import Floats, logistic_regression
from bai_sweep.scoring.arenahard._style import Style


@dataclass(frozen=True)
class Estimate:
    """A win rate from 0 to 1 with its interval: median, 5th and 95th percentile over the bootstrap."""

    value: float
    low: float
    high: float


def style_difference(model: Style, baseline: Style) -> tuple[float, float, float, float]:
    """How the model's answer differs: length, headers, lists, bold, each from -1 to 1.

    `(a - b) / (a + b)` for tokens, 0 for two empty answers; `(a - b) / (a + b + 1)` for the Markdown counts per
    `tokens + 1`.
    """
    ours, theirs = astuple(model), astuple(baseline)
    both = ours[0] + theirs[0]
    length = (ours[0] - theirs[0]) / both if both else 0.0
    densities = zip(
        (count / (ours[0] + 1) for count in ours[1:]), (count / (theirs[0] + 1) for count in theirs[1:]), strict=True
    )
    headers, lists, bolds = ((a - b) / (a + b + 1) for a, b in densities)
    return length, headers, lists, bolds


def standardised(differences: Floats, *, centred: bool = True) -> Floats:
    """Divides each column by its standard deviation (n - 1); a column that does not vary becomes 0.

    Args:
        differences: Shape (battles, features).
        centred: Whether its mean is taken off before, as official code does.
    """
    deviation = differences.std(axis=0, ddof=1) if len(differences) > 1 else np.zeros(differences.shape[1])
    moved = differences - differences.mean(axis=0) if centred else differences
    varies = deviation > 1e-12
    return np.where(varies, moved / np.where(varies, deviation, 1.0), 0.0)


def controlled_win_rates(
    models: Sequence[str], won: Floats, features: Floats, *, rounds: int = ROUNDS, seed: int = SEED
) -> Mapping[str, Estimate]:
    """Win rates against the one baseline, with the features' part taken off.

    Official code takes 50 damped L-BFGS steps towards the maximum likelihood, this one goes to it.

    Args:
        models: The model of each battle.
        won: Share of it that the model won, shape (battles,).
        features: Standardised differences of style, shape (battles, features).
        rounds: Draws of the bootstrap.
        seed: Of its draws, which are those of `numpy.random.randint`.
    """
    names = sorted(set(models))
    place = {name: i for i, name in enumerate(names)}
    design = np.concatenate([np.eye(len(names))[[place[model] for model in models]], features], axis=1)
    drawn = np.random.RandomState(seed).randint(low=0, high=len(won), size=(rounds, len(won)))
    strengths = np.stack(
        [
            logistic_regression(design, won, np.bincount(indices, minlength=len(won)).astype(np.float64))
            for indices in drawn
        ]
    )[:, : len(names)]
    low, middle, high = np.quantile(1.0 / (1.0 + np.exp(-strengths)), (0.05, 0.5, 0.95), axis=0)
    return {name: Estimate(float(middle[i]), float(low[i]), float(high[i])) for i, name in enumerate(names)}
