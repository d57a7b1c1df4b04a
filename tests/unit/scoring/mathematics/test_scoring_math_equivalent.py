"""Answers that differ in how they are written are the same, and near misses are not."""

from fractions import Fraction
from unittest import mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bai_sweep.scoring.mathematics import _equivalent, equivalent
from tests.unit.scoring.mathematics.math_cases import DIFFERENT, SAME, SAME_BY_ALGEBRA, pairs


@pytest.mark.parametrize(("candidate", "reference"), pairs(SAME))
def test_writing_does_not_matter_and_needs_no_algebra(candidate: str, reference: str) -> None:
    with mock.patch.object(_equivalent, "same_value", side_effect=AssertionError("asked the library")):
        assert equivalent(candidate, reference)


@pytest.mark.parametrize(("candidate", "reference"), pairs(SAME_BY_ALGEBRA))
def test_equal_expressions(candidate: str, reference: str) -> None:
    assert equivalent(candidate, reference)


@pytest.mark.parametrize(("candidate", "reference"), pairs(DIFFERENT))
def test_what_is_not_the_answer(candidate: str, reference: str) -> None:
    assert not equivalent(candidate, reference)


def test_symbols_in_unicode_are_those_of_latex() -> None:
    assert equivalent("\N{MINUS SIGN}5", "-5")
    assert equivalent("2 \N{MULTIPLICATION SIGN} 3π", r"2\times 3\pi")
    assert not equivalent("\N{MINUS SIGN}5", "5")


def test_an_empty_answer_is_never_right() -> None:
    assert not equivalent("", "")
    assert not equivalent("$ $", "0")


def test_an_answer_longer_than_any_of_math_is_not_looked_at() -> None:
    assert equivalent(f"5{' ' * 999}", "5")
    assert not equivalent(f"5{' ' * 1000}", "5")


def written(value: Fraction, style: int) -> str:
    sign, top, bottom = "-" if value < 0 else "", abs(value.numerator), value.denominator
    return (
        f"{sign}\\frac{{{top}}}{{{bottom}}}",
        f"{value.numerator}/{bottom}",
        f"\\dfrac{{{3 * value.numerator}}}{{{3 * bottom}}}",
        f"$x = {sign}{top // bottom}\\frac{{{top % bottom}}}{{{bottom}}}$",
    )[style]


fractions = st.fractions(min_value=-50, max_value=50, max_denominator=30)
styles = st.integers(0, 3)


@settings(deadline=None)
@given(fractions, fractions, styles, styles)
def test_rational_numbers_are_the_same_when_their_values_are(a: Fraction, b: Fraction, i: int, j: int) -> None:
    assert equivalent(written(a, i), written(a, j))
    assert equivalent(written(a, i), written(b, j)) == (a == b)


@settings(deadline=None)
@given(st.lists(st.integers(-99, 99), min_size=2, max_size=5, unique=True))
def test_order_counts_in_a_tuple_and_not_in_a_set(values: list[int]) -> None:
    shuffled = sorted(values)
    text, other = ",".join(map(str, values)), ",".join(map(str, shuffled))
    assert equivalent(rf"\{{{other}\}}", rf"\{{{text}\}}")
    assert equivalent(f"({other})", f"({text})") == (values == shuffled)
