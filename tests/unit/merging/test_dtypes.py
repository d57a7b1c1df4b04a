"""Widening is exact for every bit pattern; narrowing is torch's and numpy's own rounding."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from bai_sweep.merging._dtypes import DTYPES, first_nonfinite, narrow, storage, widen
from bai_sweep.merging._types import Dtype

PATTERNS = np.arange(65536, dtype=np.uint16)


def floats(bits: list[int]) -> NDArray[np.float32]:
    return np.array(bits, np.uint32).view(np.float32)


def hard_values() -> NDArray[np.float32]:
    """Every 16-bit upper half with lower halves at, beside and far from the middle; and random bits."""
    lower = np.array([0, 1, 0x1000, 0x7FFF, 0x8000, 0x8001, 0xFFFF], np.uint32)
    upper = np.arange(65536, dtype=np.uint32) << 16
    random = np.random.default_rng(0).integers(0, 2**32, 200_000, dtype=np.uint32)
    return np.concatenate([(upper[:, None] | lower).ravel(), random]).view(np.float32)


def around_float16() -> NDArray[np.float32]:
    """Every float16, the middle to the next, and their float32 neighbours: ties, subnormals, the end at 65520."""
    with np.errstate(invalid="ignore"):
        whole = np.sort(PATTERNS.view(np.float16).astype(np.float32))
    whole = np.append(whole[np.isfinite(whole)], [65536.0, -65536.0]).astype(np.float32)
    whole.sort()
    middle = (whole[:-1] / 2 + whole[1:] / 2).astype(np.float32)
    exact = np.concatenate([whole, middle])
    return np.concatenate([exact, np.nextafter(exact, np.float32(np.inf)), np.nextafter(exact, np.float32(-np.inf))])


def same(left: NDArray[np.float32], right: NDArray[np.float32]) -> None:
    """Equal bit for bit, but that a NaN may be any NaN."""
    nan = np.isnan(right)
    np.testing.assert_array_equal(np.isnan(left), nan)
    np.testing.assert_array_equal(left.view(np.uint32)[~nan], right.view(np.uint32)[~nan])


def test_every_bfloat16_widens_exactly() -> None:
    into = np.empty(65536, np.float32)

    widen(PATTERNS, "BF16", into)

    same(into, torch.from_numpy(PATTERNS.view(np.int16)).view(torch.bfloat16).to(torch.float32).numpy())
    np.testing.assert_array_equal(into.view(np.uint32) >> 16, PATTERNS)


def test_every_float16_widens_exactly() -> None:
    into = np.empty(65536, np.float32)

    widen(PATTERNS.view(np.float16), "F16", into)

    same(into, torch.from_numpy(PATTERNS.view(np.float16)).to(torch.float32).numpy())


def test_float32_is_taken_bit_for_bit_and_float64_is_rounded_to_it() -> None:
    values = hard_values()
    into = np.empty_like(values)

    widen(values, "F32", into)
    np.testing.assert_array_equal(into.view(np.uint32), values.view(np.uint32))

    doubles = np.array([1 + 2.0**-25, 1 + 2.0**-24, 1 + 3 * 2.0**-24, 1e300, -np.inf, 1e-60], np.float64)
    widened = np.empty(6, np.float32)
    widen(doubles, "F64", widened)
    np.testing.assert_array_equal(widened, np.array([1, 1, 1 + 2.0**-22, np.inf, -np.inf, 0], np.float32))


def test_bfloat16_is_rounded_as_torch_rounds() -> None:
    values = hard_values()
    before = values.copy()
    stored = np.empty(values.size, np.uint16)

    narrow(values, "BF16", stored)

    expected = torch.from_numpy(values).to(torch.bfloat16)
    widened = np.empty_like(values)
    widen(stored, "BF16", widened)
    same(widened, expected.to(torch.float32).numpy())
    np.testing.assert_array_equal(values.view(np.uint32), before.view(np.uint32))


@pytest.mark.parametrize("bits", [0x7FFFFFFF, 0xFFFFFFFF, 0x7F800001, 0xFF800001, 0x7FC00000, 0x7FFF8000])
@pytest.mark.parametrize("dtype", ["BF16", "F16", "F32"])
def test_a_nan_stays_one(bits: int, dtype: Dtype) -> None:
    values = np.concatenate([floats([bits]), np.ones(3, np.float32)])
    stored = np.empty(4, storage(dtype))

    assert narrow(values, dtype, stored) is False

    widened = np.empty(4, np.float32)
    widen(stored, dtype, widened)
    assert np.isnan(widened[0])
    np.testing.assert_array_equal(widened[1:], np.ones(3))


@pytest.mark.parametrize("values", [hard_values(), around_float16()], ids=["patterns", "neighbours"])
def test_float16_is_rounded_as_torch_and_numpy_round(values: NDArray[np.float32]) -> None:
    stored = np.empty(values.size, np.float16)

    narrow(values, "F16", stored)

    with np.errstate(all="ignore"):
        expected = values.astype(np.float16)
    same(stored.astype(np.float32), expected.astype(np.float32))
    same(stored.astype(np.float32), torch.from_numpy(values).to(torch.float16).to(torch.float32).numpy())


def test_rounding_to_float32_changes_nothing() -> None:
    values = hard_values()
    stored = np.empty_like(values)

    narrow(values, "F32", stored)

    np.testing.assert_array_equal(stored.view(np.uint32), values.view(np.uint32))


@pytest.mark.parametrize(
    ("dtype", "last", "first"),
    [
        ("BF16", 0x7F7F7FFF, 0x7F7F8000),
        ("F16", int(np.nextafter(np.float32(65520), np.float32(0)).view(np.uint32)), 0x477FF000),
        ("F32", 0x7F7FFFFF, 0x7F800000),
    ],
)
@pytest.mark.parametrize("sign", [0, 0x80000000])
def test_narrowing_says_whether_all_is_finite(dtype: Dtype, last: int, first: int, sign: int) -> None:
    stored = np.empty(2, storage(dtype))

    assert narrow(floats([last | sign, 0]), dtype, stored) is True
    held = np.empty(2, np.float32)
    widen(stored, dtype, held)
    assert np.isfinite(held).all()

    assert narrow(floats([0, first | sign]), dtype, stored) is False
    widen(stored, dtype, held)
    assert list(np.isinf(held)) == [False, True]


@given(
    bits=st.lists(st.integers(0, 2**32 - 1), max_size=40),
    dtype=st.sampled_from(["BF16", "F16"]),
    bad=st.lists(st.sampled_from([0x7F800000, 0xFF800000, 0x7FFFFFFF, 0x3F808000]), max_size=3),
)
@settings(deadline=None)
def test_narrowing_any_bits_is_torch_s(bits: list[int], dtype: Dtype, bad: list[int]) -> None:
    values = floats(bits + bad)
    stored = np.empty(values.size, storage(dtype))

    finite = narrow(values, dtype, stored)

    kind = torch.bfloat16 if dtype == "BF16" else torch.float16
    expected = torch.from_numpy(values).to(kind).to(torch.float32).numpy()
    widened = np.empty_like(values)
    widen(stored, dtype, widened)
    same(widened, expected)
    assert finite == bool(np.isfinite(expected).all())


def test_the_first_value_that_is_not_finite_is_found() -> None:
    values = np.full(100, 3e38, np.float32)  # whose sum overflows, though each is finite
    assert first_nonfinite(values) is None
    values[[40, 70]] = np.nan, np.inf
    assert first_nonfinite(values) == 40
    values[40] = -np.inf
    assert first_nonfinite(values) == 40
    assert first_nonfinite(np.empty(0, np.float32)) is None


def test_the_configuration_s_dtypes_have_their_names_in_safetensors() -> None:
    assert dict(DTYPES) == {"float32": "F32", "bfloat16": "BF16", "float16": "F16"}
    assert [storage(dtype).itemsize for dtype in ("F64", "F32", "F16", "BF16")] == [8, 4, 2, 2]
