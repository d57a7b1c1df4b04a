"""When an output is right: expected values follow evalplus/eval/__init__.py by hand."""

from __future__ import annotations

import math
from typing import Any

import pytest

from bai_sweep.scoring.mbpp import passed
from bai_sweep.scoring.mbpp._oracles import mode_of
from bai_sweep.scoring.mbpp._wire import Digest, Scalar


def right(
    target: Any, output: Any, *, entry_point: str = "f", atol: float = 0.0, arguments: tuple[Any, ...] = ()
) -> bool:
    return passed(entry_point, [arguments], [target], [output], atol) == 1


@pytest.mark.parametrize(
    ("target", "output", "expected"),
    [
        (5, 5, True),
        (5, 6, False),
        (5, 5.0, True),  # == of Python, as evalplus
        (True, 1, True),
        (None, None, True),
        (None, False, False),
        ([1, 2], (1, 2), False),
        ((1, 2), (1, 2), True),
        ({"a": [1]}, {"a": [1]}, True),
        ({1, 2}, [1, 2], False),
        ("1", 1, False),
        (0.3, 0.1 + 0.2, True),
        (0.3, 0.300002, False),
        ([0.5, 1.5], [0.5, 1.5000005], True),
        ([0.5, 1.5], [0.5, 1.51], False),
        ([0.5, 1.5], (0.5, 1.5000005), False),  # tolerance needs the type
        ([0.5, 1.5], [0.5], False),
        (0.3, "0.3", False),
        (0.3, None, False),
        (math.nan, math.nan, False),
        (5, Scalar(5), True),
        (0.3, Scalar(0.3), True),
        (0.3, Scalar(0.3000001), False),
    ],
)
def test_oracle_equality_and_tolerance(target: Any, output: Any, expected: bool) -> None:
    assert right(target, output) is expected


def test_oracle_tolerance_of_a_task_holds_for_integers_too() -> None:
    assert right(100, 100.00005, atol=1e-4) is False  # types differ
    assert right(100.0, 100.00005, atol=1e-4) is True
    assert right(10**12, 10**12 + 1, atol=1e-4) is True  # relative tolerance 1e-7
    assert right(10**12, 10**12 + 1) is False


def test_oracle_tolerance_stays_once_floats_were_expected() -> None:
    assert passed("f", [()] * 2, [0.5, 10**12], [0.5, 10**12 + 1], 0.0) == 2
    assert passed("f", [()] * 2, [10**12, 0.5], [10**12 + 1, 0.5], 0.0) == 0


def test_oracle_counts_up_to_the_first_wrong_output() -> None:
    assert passed("f", [()] * 4, [1, 2, 3, 4], [1, 2, 9, 4], 0.0) == 2
    assert passed("f", [()] * 4, [1, 2, 3, 4], [1, 2], 0.0) == 2


def test_oracle_members_of_a_list() -> None:
    assert right([3, 1], [1, 3, 3], entry_point="Diff")
    assert not right([3, 1], [1], entry_point="Diff")
    assert not right([3, 1], [[1], [3]], entry_point="Diff")  # unhashable
    assert not right([3, 1], [1, 3, 3])


def test_oracle_digests_equal_each_other_only() -> None:
    assert right(Digest("ab"), Digest("ab"))
    assert right(Digest("ab"), Digest("ab"), entry_point="Diff", atol=1e-4)
    assert not right(Digest("ab"), Digest("cd"), atol=1e-4)
    assert not right(Digest("ab"), "ab")
    assert not right([1.5], Digest("ab"))


def test_oracle_existence() -> None:
    assert mode_of("check_str", expected=True) == "expected exists"
    assert mode_of("check_str", expected=False) == "exists"
    assert mode_of("Diff", expected=True) == mode_of("Diff", expected=False) == "members"
    assert mode_of("other", expected=True) == mode_of("other", expected=False) == "value"


@pytest.mark.parametrize(
    ("entry_point", "arguments", "target", "output", "expected"),
    [
        ("are_equivalent", (36, 57), False, True, True),
        ("sum_div", (1,), 1, 0, True),
        ("sum_div", (8,), 7, 0, True),
        ("sum_div", (8,), 7, 8, False),
        ("surface_Area", (3, 4), 33, 35, True),  # 9 + 6 sqrt(2.25 + 16) = 34.6
        ("surface_Area", (3, 4), 33, 33, True),
        ("surface_Area", (3, 4), 33, 34, False),
        ("surface_Area", (3, 4), 33, None, False),
        ("digit_distance_nums", (1, 23), 1, 4, True),  # 01 and 23: 2 + 2
        ("digit_distance_nums", (1, 23), 1, 3, False),
    ],
)
def test_oracle_tasks_that_accept_more(
    entry_point: str, arguments: tuple[Any, ...], target: Any, output: Any, expected: bool
) -> None:
    assert right(target, output, entry_point=entry_point, arguments=arguments) is expected
