"""Inputs as they were before JSON: one task of every kind in evalplus's table."""

from __future__ import annotations

from typing import Any

import pytest

from bai_sweep.scoring.mbpp._inputs import arguments_of


@pytest.mark.parametrize(
    ("number", "given", "expected"),
    [
        (3, [[1, [2]]], [[1, [2]]]),
        (2, [[3, 4], [5]], [(3, 4), (5,)]),
        (63, [[[1, 2], [3]]], [[(1, 2), (3,)]]),
        (75, [[[6, 24], [7]], 6], [[(6, 24), (7,)], 6]),
        (106, [[5], [9, 10]], [[5], (9, 10)]),
        (250, [[10, 8], 4], [(10, 8), 4]),
        (307, [["a", []], 1, 50], [("a", []), 1, 50]),
        (259, [[[1, 3], [4]], [[6]]], [((1, 3), (4,)), ((6,),)]),
        (278, [[1, [2, 3], 4]], [(1, (2, 3), 4)]),
        (580, [[4, [7, [8]]]], ((4, (7, (8,))),)),
        (115, [[[1, 2], [], {}]], [[{1, 2}, {}, {}]]),
        (124, ["1.5", "2j"], (1.5, 2j)),
        (252, ["1+2j"], [1 + 2j]),
        (722, [{"a": [6.2, 70]}, 6.0], [{"a": (6.2, 70)}, 6.0]),
    ],
)
def test_inputs_regain_their_types(number: int, given: Any, expected: Any) -> None:
    assert repr(arguments_of(f"Mbpp/{number}", given)) == repr(expected)
