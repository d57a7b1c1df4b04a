"""How many seeds or items would decide between two points: from the variances that the study has shown.

More trials are added to those there are. An estimate g of the gap with variance V becomes one of variance W < V, which
as far as is known now is normal with mean g and variance V - W (the true gap is uncertain too: to plan with g as if it
were true would promise too much). With r = t sqrt(W), t the one-sided quantile, the two are told apart then if the new
estimate is beyond r on either side, and shown to be equal if it is within `close` - r of 0. The probability of this is
the predictive power (Spiegelhalter et al. 1986).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from bai_sweep.selection._measure import Measured

MANY = 20.0
"""Times the items: more are not to be had."""
_STEPS = tuple(np.geomspace(1.0, MANY, 40)[1:])


@dataclass(frozen=True)
class Pair:
    """What a comparison of two points is uncertain by; variances of their difference are in points squared.

    Args:
        gap: the difference observed, points.
        close: differences up to this do not matter, points.
        items: variance from the items, at the present seeds.
        shared: the part of it that more seeds do not reduce.
        per_seed: variance with one seed at each trained point, beside `shared`.
        seeds: variance from training seeds alone, at the present seeds.
        replicates: seeds of the trained points among the two.
        dof: degrees of freedom of the seeds' variance, these two points' own left out.
    """

    gap: float
    close: float
    items: float
    shared: float
    per_seed: float
    seeds: float
    replicates: tuple[int, ...]
    dof: int

    @property
    def variance(self) -> float:
        """Now."""
        return self.items + self.seeds

    def known(self, seeds: int | None = None) -> int:
        """Degrees of freedom, now or with so many seeds at each trained point."""
        return self.dof + sum((count if seeds is None else seeds) - 1 for count in self.replicates)


def pair_of(measured: Measured, one: int, other: int, close: float) -> Pair:
    """Two candidates."""
    noise = measured.seed_noise
    counts = [float(measured.replicates[slot]) for slot in (one, other)]
    replicates = tuple(int(count) for count in counts if math.isfinite(count))
    inverse = sum(1.0 / count for count in replicates)
    items = float(np.var(measured.item_draws[:, one] - measured.item_draws[:, other]))
    alone = noise.variance if noise.dof else 0.0
    return Pair(
        gap=abs(float(measured.values[one] - measured.values[other])),
        close=close,
        items=items,
        shared=max(0.0, items - noise.items * inverse),
        per_seed=len(replicates) * (alone + noise.items),
        seeds=alone * inverse,
        replicates=replicates,
        dof=noise.dof - sum(count - 1 for count in replicates),
    )


def seeds_needed(pair: Pair, confidence: float, power: float, most: int) -> int | None:
    """The smallest number of seeds at each trained point that is enough; None if `most` are not."""
    if not pair.replicates:
        return None
    counts = range(max(pair.replicates) + 1, most + 1)
    return next((seeds for seeds in counts if power_of_seeds(pair, confidence, seeds) >= power), None)


def power_of_seeds(pair: Pair, confidence: float, seeds: int) -> float:
    """The probability that the two are decided with so many seeds at each trained point."""
    return predictive_power(pair, pair.shared + pair.per_seed / seeds, pair.known(seeds), confidence)


def items_needed(pair: Pair, confidence: float, power: float, seeds: int | None = None) -> float:
    """How many times the items are enough, with the present seeds or `seeds` at each point; inf if MANY are not."""
    items, alone = pair.items, pair.seeds
    if seeds is not None and pair.replicates:
        fewer = len(pair.replicates) / seeds / sum(1.0 / count for count in pair.replicates)
        items, alone = pair.shared + (pair.items - pair.shared) * fewer, alone * fewer
    for factor in _STEPS:
        if predictive_power(pair, items / factor + alone, pair.known(seeds), confidence) >= power:
            return float(factor)
    return math.inf


def predictive_power(pair: Pair, after: float, dof: int, confidence: float) -> float:
    """The probability that the two are decided once the variance of their difference is `after`."""
    from scipy.special import ndtr, ndtri, stdtrit  # scipy.stats would take seconds to import

    reach = math.sqrt(after) * float(stdtrit(dof, confidence) if dof > 0 else ndtri(confidence))
    moves = math.sqrt(max(pair.variance - after, 1e-12))

    def below(bound: float) -> float:
        return float(ndtr((bound - pair.gap) / moves))

    equal = max(0.0, below(pair.close - reach) - below(reach - pair.close)) if pair.close > reach else 0.0
    return min(1.0, 1.0 - below(reach) + below(-reach) + equal)
