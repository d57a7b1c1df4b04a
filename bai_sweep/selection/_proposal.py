"""A value of the swept number between the tried ones that may be better: a model's guess, and how to find out."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import numpy as np

from bai_sweep.config import SelectionConfig
from bai_sweep.records import Proposal
from bai_sweep.selection._candidates import Candidate, point_of
from bai_sweep.selection._draws import Floats
from bai_sweep.selection._measure import LEVEL, Measured
from bai_sweep.selection._next import grid
from bai_sweep.selection._smooth import fit

_FEWEST = 4
_PLACES = 101
_DRAWS = 8000


def propose(
    everyone: Sequence[Candidate],
    chosen: Sequence[Candidate],
    measured: Measured,
    *,
    winner: int,
    config: SelectionConfig,
    seed: int,
) -> Proposal | None:
    """The best place by the model, or None: fewer than four eligible points, no single number swept, or no gain.

    Only places between two neighbouring points that are both eligible are looked at: next to a ratio that collapsed, a
    model of scores knows nothing of where the collapse begins.

    Args:
        everyone: all points.
        chosen: the eligible ones, in the order of `measured`.
        measured: their objectives.
        winner: index of the recommended one among `chosen`.
        config: the rule.
        seed: of the model's draws.
    """
    key = _swept_number(everyone)
    if key is None or len(chosen) < _FEWEST:
        return None
    x = np.array([float(point_of(c.result)[key]) for c in chosen])
    if len(set(x)) < len(x):
        return None
    places = _between(sorted(float(point_of(c.result)[key]) for c in everyone), set(x))
    if not len(places):
        return None
    untold = measured.seed_noise.dof == 0 and any(c.is_trained for c in chosen)
    error = _error(measured)
    value = float(places[fit(x, measured.values, error, places, nugget=untold).mean.argmax()])
    posterior = fit(x, measured.values, error, np.array([value, x[winner]]), nugget=untold)
    predicted, reached = map(float, posterior.mean)
    if predicted - reached <= config.tie_points:
        return None
    there, here = posterior.drawn(_DRAWS, seed).T
    low, high = np.quantile(there, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    asked = [point_of(chosen[winner].result), {**point_of(chosen[winner].result), key: value}]
    first = max(s for c in everyone for s in c.seeds) + 1
    seeds = range(first, first + max(config.min_seeds, 2))
    gain, sure = predicted - reached, float((there > here).mean())
    return Proposal(
        key=key,
        value=value,
        predicted=predicted,
        low=float(low),
        high=float(high),
        gain=gain,
        gain_probability=sure,
        reason=(
            f"A smooth model of the trials guesses that {key}={value:g} is better by {gain:.1f} points (with "
            f"probability {sure:.2f}; it expects {predicted:.1f} there, {low:.1f} to {high:.1f}). Nobody has tried it "
            "yet: confirm it before it is taken."
        ),
        confirm=grid(asked, seeds, f"to confirm the model's guess {key}={value:g}"),
    )


def _swept_number(everyone: Sequence[Candidate]) -> str | None:
    """The one parameter in which the points differ, if it is a number."""
    points = [point_of(candidate.result) for candidate in everyone]
    keys = {key for point in points for key in point}
    differing = [key for key in keys if len({repr(point.get(key)) for point in points}) > 1]
    if len(differing) != 1:
        return None
    values = [point.get(differing[0]) for point in points]
    real = all(isinstance(v, int | float) and not isinstance(v, bool) for v in values)
    # whole numbers (epochs, steps) have nothing between them that could be tried in the same way
    return differing[0] if real and any(isinstance(v, float) for v in values) else None


def _between(tried: Sequence[float], eligible: set[float]) -> Floats:
    """Round values inside the gaps whose ends are both eligible, a tenth of the gap away from them at least."""
    step = 10.0 ** math.floor(math.log10((tried[-1] - tried[0]) / 50.0))
    found: list[float] = []
    for low, high in itertools.pairwise(tried):
        if low in eligible and high in eligible:
            margin = max((high - low) / 10.0, step / 2)
            places = np.round(np.linspace(low, high, _PLACES) / step) * step
            found += [round(float(p), 12) for p in dict.fromkeys(places) if low + margin <= p <= high - margin]
    return np.array(found)


def _error(measured: Measured) -> Floats:
    """The covariance of the candidates' errors: items are shared, seeds are not."""
    shared = np.atleast_2d(np.cov(measured.item_draws, rowvar=False))
    alone = np.nan_to_num(measured.seed_noise.variance) / measured.replicates
    both: Floats = shared + np.diag(alone)
    return both
