"""Products of thin matrices, in runs: every element is rounded alike wherever a run begins."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bai_sweep.merging.inputs import _lora as module
from bai_sweep.merging.inputs._lora import Factors, Products


def thin(rows: int, rank: int, columns: int) -> Factors:
    generator = np.random.default_rng(rows * rank + columns)
    left = generator.standard_normal((rows, rank), dtype=np.float32)
    return Factors(left, generator.standard_normal((rank, columns), dtype=np.float32))


@settings(deadline=None, max_examples=150)
@given(data=st.data())
def test_a_products_element_does_not_depend_on_where_a_run_begins(data: st.DataObject) -> None:
    factors = thin(data.draw(st.integers(1, 70)), data.draw(st.integers(1, 70)), data.draw(st.integers(1, 90)))
    size = len(factors.left) * factors.right.shape[1]
    start = data.draw(st.integers(0, size))
    count = data.draw(st.integers(0, size - start))
    products = Products()
    whole = np.zeros(size, np.float32)
    products.add(factors, 0, whole)

    run = np.zeros(count, np.float32)
    Products().add(factors, start, run)
    again = np.zeros(count, np.float32)
    products.add(factors, start, again)

    assert run.tobytes() == whole[start : start + count].tobytes()
    assert again.tobytes() == run.tobytes()
    exact = factors.left.astype(np.float64) @ factors.right.astype(np.float64)
    bound = np.abs(factors.left).astype(np.float64) @ np.abs(factors.right).astype(np.float64)
    assert np.all(np.abs(whole.reshape(exact.shape) - exact) <= factors.right.shape[0] * 2.0**-24 * bound)


@pytest.mark.parametrize(("rows", "rank", "columns"), [(100, 64, 1000), (33, 16, 5000), (20, 8, 40_000)])
def test_products_of_real_widths_are_alike_for_every_run(rows: int, rank: int, columns: int) -> None:
    factors = thin(rows, rank, columns)
    whole = np.zeros(rows * columns, np.float32)
    Products().add(factors, 0, whole)

    for step in (columns // 3, 131072):
        pieces = np.zeros_like(whole)
        products = Products()
        for start in range(0, whole.size, step):
            products.add(factors, start, pieces[start : start + step])
        assert pieces.tobytes() == whole.tobytes()


def test_factors_are_held_for_a_few_tensors_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_HELD", 2)
    products, loads = Products(), []

    def load(name: str) -> Factors:
        loads.append(name)
        return thin(1, 1, 1)

    for name in "aabaca":
        products.factors(name, lambda name=name: load(name))
    products.factors("b", lambda: load("b"))

    assert loads == ["a", "b", "c", "b"]
