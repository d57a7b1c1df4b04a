"""How far verdicts can be trusted: position, agreement, and an interval for a share."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Hashable, Iterable, Sequence
from statistics import NormalDist

from bai_sweep.scoring.arenahard._battles import Verdicts
from bai_sweep.scoring.arenahard._verdicts import Winner, winner_of

_FROM_GAME: tuple[dict[Winner, str], dict[Winner, str]] = (
    {"A": "baseline", "tie": "tie", "B": "model"},
    {"A": "model", "tie": "tie", "B": "baseline"},
)


def first_position(pairs: Iterable[Verdicts]) -> tuple[int, int]:
    """Games that the answer shown first won, and games that either won: ties and games without verdict are neither."""
    winners = Counter(winner_of(verdict) for pair in pairs for verdict in pair if verdict is not None)
    return winners["A"], winners["A"] + winners["B"]


def winners(pairs: Iterable[Verdicts]) -> tuple[list[str], list[str]]:
    """Who won game 1 and game 2 ("model", "tie", "baseline") of each question that has both verdicts."""
    first, second = [], []
    for one, other in pairs:
        if one is not None and other is not None:
            first.append(_FROM_GAME[0][winner_of(one)])
            second.append(_FROM_GAME[1][winner_of(other)])
    return first, second


def agreement_rate(one: Sequence[Hashable], other: Sequence[Hashable]) -> float:
    """Share of the cases that two judges (or two games, or two attempts) decide alike; NaN without cases."""
    if not one:
        return math.nan
    return sum(a == b for a, b in zip(one, other, strict=True)) / len(one)


def cohens_kappa(one: Sequence[Hashable], other: Sequence[Hashable]) -> float:
    """Agreement beyond chance, `(p_o - p_e) / (1 - p_e)`: 1 is full, 0 what chance gives, NaN where chance gives all.

    J. Cohen (1960), A coefficient of agreement for nominal scales.
    """
    observed = agreement_rate(one, other)
    theirs = Counter(other)
    expected = sum(count * theirs[label] for label, count in Counter(one).items()) / max(len(one), 1) ** 2
    return (observed - expected) / (1.0 - expected) if expected < 1.0 else math.nan


def wilson_interval(successes: int, trials: int, level: float = 0.95) -> tuple[float, float]:
    """Wilson's interval of a binomial share; NaN without trials.

    E. B. Wilson (1927), Probable inference, the law of succession, and statistical inference.
    """
    if not trials:
        return math.nan, math.nan
    z = NormalDist().inv_cdf(0.5 + level / 2.0)
    share = successes / trials
    centre = (share + z * z / (2.0 * trials)) / (1.0 + z * z / trials)
    reach = z / (1.0 + z * z / trials) * math.sqrt(share * (1.0 - share) / trials + (z / (2.0 * trials)) ** 2)
    return max(0.0, centre - reach), min(1.0, centre + reach)
