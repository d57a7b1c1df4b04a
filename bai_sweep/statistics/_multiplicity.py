"""Several tests at once."""

from __future__ import annotations

from collections.abc import Sequence


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjusted p-values: rejecting those below 5 % makes a false rejection anywhere at most 5 % likely.

    Holm 1979: the k-th smallest of m is multiplied by m - k + 1, and never less than the one before it.
    """
    order = sorted(range(len(p_values)), key=lambda i: p_values[i])
    adjusted = [1.0] * len(p_values)
    floor = 0.0
    for k, i in enumerate(order):
        floor = max(floor, min(1.0, (len(order) - k) * p_values[i]))
        adjusted[i] = floor
    return adjusted
