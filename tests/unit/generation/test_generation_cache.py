"""The growing buffers hold what transformers' concatenation holds, within their bound."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers.cache_utils import DynamicLayer

from bai_sweep.generation._cache import GrowingLayer, Growth


def test_buffers_double_up_to_the_budget_and_the_limit() -> None:
    growth = Growth(limit=100, first=10, budget=120)
    assert growth.capacity(rows=4, needed=7, present=0) == 10
    assert growth.capacity(rows=4, needed=11, present=10) == 20
    assert growth.capacity(rows=4, needed=21, present=20) == 30  # 4 x 30 is the budget
    assert growth.capacity(rows=2, needed=31, present=30) == 60
    assert growth.capacity(rows=1, needed=61, present=60) == 100  # one row goes on without a budget
    assert Growth(limit=1000, first=10).capacity(rows=50, needed=11, present=10) == 20


@given(st.lists(st.tuples(st.integers(1, 9), st.integers(0, 3)), min_size=1, max_size=12), st.integers(0, 99))
def test_a_growing_layer_holds_what_concatenation_holds(steps: list[tuple[int, int]], seed: int) -> None:
    """Appends of several sizes, after each of which some of the rows leave."""
    generator = torch.Generator().manual_seed(seed)
    rows, total = 5, sum(new for new, _ in steps)
    ours, theirs = GrowingLayer(Growth(total, first=3, budget=4 * total)), DynamicLayer()
    for new, leaving in steps:
        keys, values = (torch.randn(rows, 2, new, 3, generator=generator) for _ in range(2))
        got, expected = ours.update(keys, values.half()), theirs.update(keys, values.half())
        assert all(torch.equal(a, b) for a, b in zip(got, expected, strict=True))
        assert ours.get_seq_length() == theirs.get_seq_length()
        kept = torch.randperm(rows, generator=generator)[: max(1, rows - leaving)]
        for layer in (ours, theirs):
            layer.reorder_cache(kept)
        rows = len(kept)


def test_what_is_allocated_stays_within_the_budget() -> None:
    budget, rows = 60, 10
    layer = GrowingLayer(Growth(1000, first=4, budget=budget))
    sizes = []
    for _ in range(50):
        filled = layer.get_seq_length()
        if rows > 1 and rows * (filled + 1) > budget:
            rows = max(1, rows // 2)
            layer.reorder_cache(torch.arange(rows))
        layer.update(*torch.zeros(2, rows, 1, 1, 1))
        storage = layer.keys.untyped_storage().nbytes() // 4
        sizes.append(storage)
        assert rows == 1 or storage <= budget
    assert len(set(sizes)) < 12  # and not another one at every token


def test_first_buffers_are_modest() -> None:
    layer = GrowingLayer(Growth(limit=32_000, first=150))
    layer.update(*torch.zeros(2, 1, 1, 20, 1))
    assert layer.keys.untyped_storage().nbytes() == 150 * 4
