"""Expressions: values by hand, names, and what is refused."""

from __future__ import annotations

import math

import numpy as np
import pytest

from bai_sweep.config import Formula

VALUES = {"mmlu": 80.0, "eval/overall": 60.0, "final_kl": 4.0, "length_ratio": 0.5, "mixeval-hard": 40.0}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("mmlu - 0.5 * final_kl", 78.0),
        ("eval/overall / 2 + 2 ** 3", 38.0),
        ("2 * eval/overall", 120.0),
        ("mmlu - eval/overall", 20.0),
        ("-mmlu + (+1)", -79.0),
        ('"mixeval-hard" * length_ratio', 20.0),
        ("'eval/overall' - 1", 59.0),
        ("min(mmlu, eval/overall, 70) - 10 * max(0, 1 - length_ratio)", 55.0),
        ("sqrt(final_kl) + abs(-3) + log(exp(2))", 7.0),
    ],
)
def test_values(text: str, value: float) -> None:
    assert float(Formula(text)(VALUES)) == pytest.approx(value)


def test_arrays_broadcast() -> None:
    drawn = Formula("mmlu - final_kl")({"mmlu": np.array([[1.0, 2.0], [3.0, 4.0]]), "final_kl": np.array([1.0, 0.5])})
    assert drawn == pytest.approx(np.array([[0.0, 1.5], [2.0, 3.5]]))


def test_what_has_no_value_is_not_a_number() -> None:
    assert math.isnan(float(Formula("log(-mmlu)")(VALUES)))
    assert float(Formula("9 ** 9 ** 9")(VALUES)) == math.inf  # no integers that grow until the memory is full


def test_names() -> None:
    assert Formula("max(mmlu, eval/overall) - eval/a/b * 'x-y' + mmlu").names == (
        "mmlu",
        "eval/overall",
        "eval/a/b",
        "x-y",
    )


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("mmlu +", "not an arithmetic expression"),
        ("__import__('os').system('true')", 'got "__import__'),
        ("mmlu.real", "an expression has numbers, names"),
        ("[1, 2]", "an expression has numbers"),
        ("mmlu if 1 else 2", "an expression has numbers"),
        ("mmlu > 2", "an expression has numbers"),
        ("True", "an expression has numbers"),
        ("abs", "abs is a function"),
        ("abs(1, 2)", "abs takes 1 arguments; got 2"),
        ("min(mmlu)", "min takes two or more arguments; got 1"),
        ("min(*mmlu, 1)", "an expression has numbers"),
        ("1" * 500, "at most 400 characters"),
    ],
)
def test_refused(text: str, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint.replace("(", r"\(")):
        Formula(text)
