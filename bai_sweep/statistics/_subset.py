"""A part of a benchmark in place of the whole: how many items of each stratum, and the error that this adds."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence

import numpy as np

from bai_sweep.statistics._errors import grouped, standard_error


def allocate(sizes: Mapping[Hashable, int], count: int) -> dict[Hashable, int]:
    """Shares `count` items out among strata in proportion to their sizes, by largest remainders; at least one each.

    With more strata than items the result has one of each, which is more than `count`.

    Raises:
        ValueError: `count` is below 1.
    """
    if count < 1:
        raise ValueError(f"a subset has at least one item; got {count}")
    total = sum(sizes.values())
    if count >= total:
        return dict(sizes)
    exact = {name: count * size / total for name, size in sizes.items()}
    shares = {name: max(1, math.floor(share)) for name, share in exact.items()}
    order = sorted(exact, key=lambda name: math.floor(exact[name]) - exact[name])  # largest remainder first
    for name in order:
        if sum(shares.values()) >= count:
            break
        if shares[name] < sizes[name] and exact[name] > shares[name]:
            shares[name] += 1
    return shares


def stratified_error(
    values: Mapping[Hashable, Sequence[float]],
    weights: Mapping[Hashable, Sequence[float]],
    sizes: Mapping[Hashable, int],
) -> float:
    """The standard error of a stratified sample's weighted mean as an estimate of the one over all items.

    `sqrt(sum_h W_h^2 (1 - n_h / N_h) v_h)` (Cochran 1977, section 5.3): only what the items left out add, 0 where none
    is. `W_h` is the share of all weights that stratum h has, `v_h` the squared standard error of its weighted mean
    (with equal weights `s_h^2 / n_h`). A stratum with a single value has the spread of all values pooled.

    Args:
        values: Of the items that were taken, by stratum.
        weights: Of the same items in the whole mean.
        sizes: How many items each stratum has.
    """
    total = math.fsum(weight for taken in weights.values() for weight in taken)
    pooled = [value for taken in values.values() for value in taken]
    spread = float(np.var(pooled, ddof=1)) if len(pooled) > 1 else math.nan
    error = 0.0
    for name, taken in values.items():
        count, size, share = len(taken), sizes[name], math.fsum(weights[name]) / total
        if count == size or share == 0.0:
            continue
        variance = standard_error(grouped(taken, weights[name])) ** 2 if count > 1 else spread
        error += share**2 * (1.0 - count / size) * variance
    return math.sqrt(error)
