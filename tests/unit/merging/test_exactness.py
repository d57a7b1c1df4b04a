"""Linear merges against float64, element by element, with an error bound that has no exceptions.

Float32 arithmetic with N SFT models is off by at most `(N + 5) * 2**-24 * sum_i |term_i|`, and then there is one
rounding. So an output lies between the roundings of the float64 value less and plus that bound, always.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from bai_sweep.merging._engine import run
from bai_sweep.merging._types import Dtype, Method
from bai_sweep.merging.methods._arithmetic import interpolate
from bai_sweep.merging.methods._linear import Linear
from bai_sweep.merging.methods._two_save import TwoSave
from bai_sweep.records import UserError
from tests.unit.merging.conftest import TO_TORCH, ArraySink, ArrayTensors, infos

Doubles = NDArray[np.float64]
DTYPES: list[Dtype] = ["BF16", "F16", "F32"]
# significant bits, the exponent of the smallest subnormal, the end of the finite
FORMATS = {"BF16": (8, -133, 2.0**128), "F16": (11, -24, 2.0**16), "F32": (24, -149, 2.0**128)}
SUBNORMAL = 2.0**-149
UNIT = 2.0**-24


def quantum(values: Doubles, dtype: Dtype) -> Doubles:
    """The distance of neighbours in the format, where these values are."""
    precision, smallest, _ = FORMATS[dtype]
    exponents = np.frexp(values)[1] - precision
    return np.ldexp(1.0, np.maximum(exponents, smallest))


def rounded(values: Doubles, dtype: Dtype) -> Doubles:
    """The nearest of the format, ties to even; scaling by powers of two is exact in float64."""
    step = quantum(values, dtype)
    found: Doubles = np.rint(values / step) * step
    end = FORMATS[dtype][2]
    return np.where(np.abs(found) >= end, np.copysign(np.inf, found), found)


@dataclass(frozen=True)
class Case:
    """A linear merge, in float64 and by the engine."""

    alpha: float
    weights: tuple[float, ...]
    arrays: Mapping[str, Mapping[str, torch.Tensor]]

    @property
    def sft(self) -> dict[str, float]:
        return {f"sft{number}": weight for number, weight in enumerate(self.weights)}

    def double(self, member: str, name: str) -> Doubles:
        return self.arrays[member][name].to(torch.float64).numpy().reshape(-1)

    def stage1(self, name: str) -> tuple[Doubles, Doubles]:
        """The value and the sum of the terms' magnitudes."""
        terms = [np.float64(weight) * self.double(member, name) for member, weight in self.sft.items()]
        return np.sum(terms, axis=0), np.sum(np.abs(terms), axis=0)

    def exact(self, name: str) -> tuple[Doubles, Doubles]:
        """The merge, and the sum of its terms' magnitudes."""
        value, magnitude = self.stage1(name)
        base = np.float64(self.alpha) * self.double("base", name)
        beta = 1.0 - self.alpha
        return base + beta * value, np.abs(base) + beta * magnitude

    def bound(self, magnitude: Doubles) -> Doubles:
        """How far float32 may be off; the last term is for products below the smallest subnormal."""
        count = len(self.weights)
        return (count + 5) * UNIT * magnitude + (count + 3) * SUBNORMAL

    def merge(
        self, dtype: Dtype, method: Method | None = None, *, threads: int = 1, block: int = 1 << 20
    ) -> dict[str, torch.Tensor]:
        tensors = infos({name: tuple(array.shape) for name, array in self.arrays["base"].items()})
        values = {member: ArrayTensors(arrays) for member, arrays in self.arrays.items()}
        sink = ArraySink(tensors, dtype)
        run(tensors, values, method or Linear(self.alpha, self.sft), sink, threads=threads, block=block)
        return sink.result()


def doubles(merged: torch.Tensor) -> Doubles:
    return merged.to(torch.float64).numpy().reshape(-1)


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """1 to 4 SFT models, each tensor of each member in a dtype of its own, values over many magnitudes."""
    count = draw(st.integers(1, 4))
    shapes = draw(st.lists(st.lists(st.integers(0, 7), max_size=3), min_size=1, max_size=4))
    share = st.one_of(st.sampled_from([0.0, 0.1, 0.37, 0.5, 1.0]), st.floats(0, 1))
    weight = st.one_of(st.sampled_from([1.0, 0.5, 0.3, -0.25]), st.floats(-2, 2).filter(lambda w: w != 0.0))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    spread = draw(st.sampled_from([0.0, 1.0, 6.0]))
    kinds = st.sampled_from([torch.float32, torch.float16, torch.bfloat16])

    def array(shape: Sequence[int]) -> torch.Tensor:
        # cubes of a few values cancel often
        normal = torch.randn(list(shape), generator=generator)
        return (normal * torch.exp(spread * torch.rand(list(shape), generator=generator))).to(draw(kinds))

    members = ["base", *(f"sft{number}" for number in range(count))]
    arrays = {member: {f"t{at}": array(shape) for at, shape in enumerate(shapes)} for member in members}
    return Case(draw(share), tuple(draw(st.lists(weight, min_size=count, max_size=count))), arrays)


def within(merged: Doubles, low: Doubles, high: Doubles, dtype: Dtype) -> None:
    lower, upper = rounded(low, dtype), rounded(high, dtype)
    wrong = np.flatnonzero((merged < lower) | (merged > upper))
    assert not wrong.size, f"{merged[wrong[0]]!r} is not within {lower[wrong[0]]!r} and {upper[wrong[0]]!r}"


@given(case=cases(), dtype=st.sampled_from(DTYPES), threads=st.integers(1, 3), block=st.integers(1, 400))
@settings(deadline=None, max_examples=150)
def test_every_element_is_the_rounded_float64_value_within_float32_s_error(
    case: Case, dtype: Dtype, threads: int, block: int
) -> None:
    for name, merged in case.merge(dtype, threads=threads, block=block).items():
        exact, magnitude = case.exact(name)
        bound = case.bound(magnitude)
        within(doubles(merged), exact - bound, exact + bound, dtype)


@given(case=cases(), dtype=st.sampled_from(DTYPES), threads=st.integers(1, 4), block=st.integers(1, 400))
@settings(deadline=None, max_examples=60)
def test_neither_threads_nor_blocks_change_a_bit(case: Case, dtype: Dtype, threads: int, block: int) -> None:
    two_save = TwoSave(case.alpha, case.sft, "BF16")
    for method in (Linear(case.alpha, case.sft), two_save):
        at_once = case.merge(dtype, method)
        in_pieces = case.merge(dtype, method, threads=threads, block=block)
        for name, merged in in_pieces.items():
            integer = torch.int32 if dtype == "F32" else torch.int16
            assert torch.equal(merged.view(integer), at_once[name].view(integer)), name


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("alpha", "weights", "copied"),
    [(1.0, (0.3, 0.7), "base"), (0.0, (1.0,), "sft0"), (0.0, (0.0, 1.0), "sft1"), (0.0, (1.0, 0.0), "sft0")],
)
def test_a_member_alone_is_copied_bit_for_bit(
    alpha: float, weights: tuple[float, ...], copied: str, dtype: Dtype
) -> None:
    kind = TO_TORCH[dtype]
    hard = torch.tensor([-0.0, 0.0, torch.finfo(kind).smallest_normal / 4, torch.finfo(kind).max, -1.5], dtype=kind)
    generator = torch.Generator().manual_seed(0)
    arrays = {
        member: {"t": torch.cat([hard.roll(shift), torch.randn(60, generator=generator).to(kind)])}
        for shift, member in enumerate(["base", *(f"sft{number}" for number in range(len(weights)))])
    }
    integer = torch.int32 if dtype == "F32" else torch.int16
    for method in (Linear, TwoSave):
        of = Case(alpha, weights, arrays)
        made = Linear(alpha, of.sft) if method is Linear else TwoSave(alpha, of.sft, dtype)
        merged = of.merge(dtype, made, threads=2, block=16)["t"]
        assert torch.equal(merged.view(integer), arrays[copied]["t"].view(integer))
        assert made.members == (copied,)


@pytest.mark.parametrize("method", [Linear(0.5, {"a": 0.0, "b": 0.5}), TwoSave(0.5, {"a": 0.0, "b": 0.5}, "BF16")])
def test_a_member_of_weight_zero_is_not_one(method: Method) -> None:
    assert method.members == ("base", "b")
    assert method.surveys == 0


def test_a_merge_of_nothing_is_refused() -> None:
    with pytest.raises(UserError, match=r"weight other than 0; got alpha=0.5 and weights \{'a': 0.0\}"):
        Linear(0.5, {"a": 0.0})
    with pytest.raises(UserError, match="weight other than 0"):
        TwoSave(0.5, {}, "BF16")
    assert Linear(1.0, {}).members == TwoSave(1.0, {}, "BF16").members == ("base",)


@given(case=cases(), saved=st.sampled_from(DTYPES), dtype=st.sampled_from(DTYPES))
@settings(deadline=None, max_examples=80)
def test_two_saves_are_two_merges_with_a_file_between(case: Case, saved: Dtype, dtype: Dtype) -> None:
    merged = case.merge(dtype, TwoSave(case.alpha, case.sft, saved), threads=2, block=50)

    for name, found in merged.items():
        value, magnitude = case.stage1(name)
        bound = case.bound(magnitude)
        beta = 1.0 - case.alpha
        base = np.float64(case.alpha) * case.double("base", name)
        low, high = rounded(value - bound, saved), rounded(value + bound, saved)
        second = 6 * UNIT * (np.abs(base) + beta * np.maximum(np.abs(low), np.abs(high))) + 4 * SUBNORMAL
        if case.alpha == 1.0:
            within(doubles(found), base, base, dtype)
        else:
            within(doubles(found), base + beta * low - second, base + beta * high + second, dtype)


@given(case=cases(), saved=st.sampled_from(DTYPES))
@settings(deadline=None, max_examples=40)
def test_two_saves_equal_two_runs_of_the_engine_bit_for_bit(case: Case, saved: Dtype) -> None:
    stage1 = case.merge(saved, Linear(0.0, case.sft))
    arrays = {"base": case.arrays["base"], "sft0": stage1}
    expected = Case(case.alpha, (1.0,), arrays).merge("F32")

    merged = case.merge("F32", TwoSave(case.alpha, case.sft, saved))

    assert all(torch.equal(merged[name].view(torch.int32), expected[name].view(torch.int32)) for name in expected)


@given(case=cases(), block=st.integers(1, 100))
@settings(deadline=None, max_examples=60)
def test_a_stage_2_from_a_finished_stage_1_gives_the_same_bits_as_one_pass(case: Case, block: int) -> None:
    held = case.merge("F32", Linear(0.0, case.sft), block=block)
    merged = case.merge("F32", block=block)

    for name, expected in merged.items():
        base = case.arrays["base"][name].to(torch.float32).numpy().reshape(-1)
        stage1 = held[name].numpy().reshape(-1)
        before = stage1.copy()
        out = np.empty_like(base)
        interpolate(base, stage1, case.alpha, out, np.empty_like(base))
        np.testing.assert_array_equal(out.view(np.uint32), expected.numpy().reshape(-1).view(np.uint32))
        np.testing.assert_array_equal(stage1, before)


def test_an_interpolation_at_its_ends_is_a_copy_whatever_the_other_holds() -> None:
    base, stage1 = np.array([-0.0, np.inf, 1.5], np.float32), np.array([np.inf, -0.0, np.nan], np.float32)

    for alpha, expected in ((1.0, base), (0.0, stage1)):
        out, room = np.ones(3, np.float32), np.ones(3, np.float32)
        assert interpolate(base, stage1, alpha, out, room) is out
        np.testing.assert_array_equal(out.view(np.uint32), expected.view(np.uint32))


def random_case(alpha: float, weights: tuple[float, ...], dtype: Dtype, size: int = 1_000_000) -> Case:
    """Weights as a network's: normal, in one dtype, and unrelated, so that terms cancel as often as they can."""
    generator = torch.Generator().manual_seed(7)
    members = ["base", *(f"sft{number}" for number in range(len(weights)))]
    arrays = {m: {"t": (0.02 * torch.randn(size, generator=generator)).to(TO_TORCH[dtype])} for m in members}
    return Case(alpha, weights, arrays)


def ulps(case: Case, dtype: Dtype) -> tuple[Doubles, NDArray[np.bool_], Doubles]:
    """How far each element is off, whether float64 cannot tell to which side it rounds, and what cancelling left."""
    exact, magnitude = case.exact("t")
    expected = rounded(exact, dtype)
    step = quantum(exact, dtype)
    off = np.abs(doubles(case.merge(dtype)["t"]) - expected) / step
    tie = np.abs(np.abs(exact - expected) - step / 2) <= 2.0**-50 * magnitude
    tie |= np.abs(exact) <= 2.0**-50 * magnitude
    return off, tie, np.abs(exact) / magnitude


ROUND: list[Any] = [(0.1, (0.5, 0.5)), (0.5, (0.5, 0.5)), (0.3, (1.0,)), (0.2, (0.3, 0.7)), (0.2, (0.25, 0.25, 0.5))]
ODD: list[Any] = [(0.3713907, (0.41235, 0.58765)), (0.123457, (0.2345, 0.3456, 0.4199))]


@pytest.mark.parametrize(("alpha", "weights"), ROUND + ODD)
def test_of_bfloat16_outputs_9999_in_10000_are_the_rounded_float64_value(
    alpha: float, weights: tuple[float, ...]
) -> None:
    off, tie, kept = ulps(random_case(alpha, weights, "BF16"), "BF16")

    assert np.mean(off[~tie] == 0) >= 0.9999
    # more than one only where the terms cancel to less than 1/8192 of their magnitudes
    assert off[~tie & (kept >= 2.0**-13)].max() <= 1
    assert np.mean(off[~tie] > 1) <= 1e-5


@pytest.mark.parametrize(("alpha", "weights"), ROUND + ODD)
def test_float16_outputs_are_off_by_one_at_most(alpha: float, weights: tuple[float, ...]) -> None:
    off, tie, _ = ulps(random_case(alpha, weights, "F16"), "F16")

    assert np.mean(off[~tie] == 0) >= 0.9997
    assert off.max() <= 1


@pytest.mark.parametrize(("alpha", "weights"), ROUND + ODD)
def test_float32_outputs_are_off_by_four_units_of_the_terms_at_most(alpha: float, weights: tuple[float, ...]) -> None:
    case = random_case(alpha, weights, "F32")
    exact, magnitude = case.exact("t")

    off = np.abs(doubles(case.merge("F32")["t"]) - exact)

    assert np.max(off / magnitude) <= 4 * UNIT
