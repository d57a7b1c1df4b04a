"""Subsets: shares by size, and the error that a part adds, against repeated draws."""

from __future__ import annotations

from collections.abc import Hashable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bai_sweep.statistics import allocate, stratified_error


def test_largest_remainders_by_hand() -> None:
    """10 of 100 over 61, 27, 12: 6.1, 2.7, 1.2; the one left over goes to the second."""
    assert allocate({"a": 61, "b": 27, "c": 12}, 10) == {"a": 6, "b": 3, "c": 1}


@given(st.dictionaries(st.integers(), st.integers(1, 50), min_size=1, max_size=12), st.integers(1, 300))
def test_shares_fit(sizes: dict[Hashable, int], count: int) -> None:
    shares = allocate(sizes, count)
    assert all(1 <= shares[name] <= size for name, size in sizes.items())
    total = sum(sizes.values())
    assert sum(shares.values()) >= min(count, total)
    assert sum(shares.values()) <= max(min(count, total), len(sizes)) + len(sizes)
    if count >= total:
        assert shares == sizes


def test_nothing_left_out_adds_nothing() -> None:
    values: dict[Hashable, list[float]] = {"a": [1.0, 0.0], "b": [1.0]}
    assert stratified_error(values, {name: [1.0] * len(v) for name, v in values.items()}, {"a": 2, "b": 1}) == 0.0


@pytest.mark.parametrize("by_size", [{"a": 2 / 3, "b": 0.2, "c": 2 / 15}, {}], ids=["by size", "evenly"])
def test_the_error_is_the_spread_of_repeated_subsets(by_size: dict[Hashable, float]) -> None:
    """Strata that count by their items, and strata that count alike, as LiveBench's tasks do."""
    rng = np.random.default_rng(0)
    parts = {"a": rng.random(200), "b": rng.random(60) ** 3, "c": (rng.random(40) > 0.3).astype(float)}
    sizes: dict[Hashable, int] = {name: len(values) for name, values in parts.items()}
    shares = allocate(sizes, 60)
    shares_of = by_size if by_size else {"a": 1 / 3, "b": 1 / 3, "c": 1 / 3}

    def draw() -> tuple[float, float]:
        taken: dict[Hashable, list[float]] = {
            name: rng.choice(values, shares[name], replace=False).tolist() for name, values in parts.items()
        }
        estimate = sum(shares_of[name] * float(np.mean(values)) for name, values in taken.items())
        weights = {name: [shares_of[name] / len(values)] * len(values) for name, values in taken.items()}
        return estimate, stratified_error(taken, weights, sizes)

    estimates, errors = np.array([draw() for _ in range(4000)]).T
    assert float(np.sqrt(np.mean(np.square(errors)))) == pytest.approx(float(np.std(estimates)), rel=0.04)


def test_a_subset_has_an_item() -> None:
    with pytest.raises(ValueError, match="at least one item; got 0"):
        allocate({"a": 3}, 0)
