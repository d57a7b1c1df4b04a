"""The arithmetic of an actor in memory."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch

from bai_sweep.merging.live._kernel import go, go_all
from bai_sweep.merging.live._sink import Target
from bai_sweep.records import UserError

SIZE = 100_003


@pytest.fixture
def threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def vectors() -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(3)
    base = generator.normal(size=SIZE).astype(np.float32)
    return base, (0.1 * generator.normal(size=SIZE)).astype(np.float32)


def into(base: np.ndarray, way: np.ndarray, share: float, dtype: str = "F32") -> np.ndarray:
    memory = np.zeros(base.size, {"F32": np.float32, "F16": np.float16, "BF16": np.uint16}[dtype])
    go_all("t", torch.from_numpy(base), torch.from_numpy(way), share, Target(memory, dtype))  # type: ignore[arg-type]
    return memory


@pytest.mark.parametrize("share", [0.0, 0.1, 0.37139, 0.9])
def test_the_kernel_is_near_float64(share: float) -> None:
    base, way = vectors()

    exact = base.astype(np.float64) + (1.0 - share) * way.astype(np.float64)

    # one rounding of the factor, of the product and of the sum
    bound = 2.0**-24 * (np.abs(exact) + 3 * np.abs(way))
    assert np.all(np.abs(into(base, way, share) - exact) <= bound)


def test_neither_threads_nor_pieces_change_a_bit(threads: None) -> None:
    base, way = vectors()
    torch.set_num_threads(1)
    whole = into(base, way, 0.37139)

    for count in (2, 3):
        torch.set_num_threads(count)
        assert np.array_equal(into(base, way, 0.37139), whole)
    for first, size in [(0, 1), (1, 7), (5, 33), (64, 70_000), (SIZE - 3, 3), (17, SIZE - 17)]:
        piece = base[first : first + size].copy()
        go(piece, way[first : first + size].copy(), 0.37139, piece)
        assert np.array_equal(piece, whole[first : first + size]), (first, size)


@pytest.mark.parametrize(("dtype", "torch_dtype"), [("BF16", torch.bfloat16), ("F16", torch.float16)])
def test_what_is_rounded_is_the_float32_result(dtype: str, torch_dtype: torch.dtype) -> None:
    base, way = vectors()

    expected = torch.from_numpy(into(base, way, 0.3)).to(torch_dtype)

    rounded = torch.from_numpy(into(base, way, 0.3, dtype)).view(torch_dtype)
    assert torch.equal(rounded, expected)


@pytest.mark.parametrize(("dtype", "value"), [("F16", 65519.0), ("BF16", 3.38e38)])
def test_the_largest_values_are_held(dtype: str, value: float) -> None:
    base, way = np.array([-value, value], np.float32), np.zeros(2, np.float32)

    torch_dtype = {"F16": torch.float16, "BF16": torch.bfloat16}[dtype]
    assert torch.from_numpy(into(base, way, 0.5, dtype)).view(torch_dtype).isfinite().all()


@pytest.mark.parametrize(("dtype", "value"), [("F16", 65520.0), ("BF16", 3.4e38)])
@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_what_a_dtype_cannot_hold_is_refused(dtype: str, value: float, sign: float) -> None:
    base, way = np.array([1.0, sign * value], np.float32), np.zeros(2, np.float32)

    with pytest.raises(UserError, match=f"t: the merge has values that are too large .* {dtype}; set model.dtype"):
        into(base, way, 0.5, dtype)
