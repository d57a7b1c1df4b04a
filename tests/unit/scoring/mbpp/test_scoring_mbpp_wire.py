"""Plain data out of the sandbox and back, and nothing else."""

from __future__ import annotations

import collections
import json
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bai_sweep.scoring.mbpp._wire import Scalar, dumps, loads

_leaves = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.complex_numbers(allow_nan=False)
    | st.text()
    | st.binary()
)
_keys = st.integers() | st.text() | st.tuples(st.integers(), st.booleans()) | st.frozensets(st.integers())
_values = st.recursive(
    _leaves,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.lists(inner, max_size=4).map(tuple)
        | st.dictionaries(_keys, inner, max_size=4)
        | st.sets(_keys, max_size=4)
    ),
    max_leaves=12,
)


@given(_values)
def test_wire_round_trip_keeps_values_and_types(value: Any) -> None:
    back = loads(dumps(value))
    assert back == value
    assert repr(_sorted(back)) == repr(_sorted(value))


def _sorted(value: Any) -> Any:
    """Sets have no order; types show in repr."""
    if isinstance(value, set | frozenset):
        return type(value).__name__, sorted(repr(_sorted(member)) for member in value)
    if isinstance(value, list | tuple):
        return type(value)(map(_sorted, value))
    return [(_sorted(key), _sorted(item)) for key, item in value.items()] if isinstance(value, dict) else value


@pytest.mark.parametrize("value", [-(2**53), math.inf, -0.0, "\ud800\t\n", [True, 1, 1.0, 1 + 0j]])
def test_wire_awkward_values(value: Any) -> None:
    text = dumps(value)
    assert text.isascii()
    assert "\n" not in text
    assert "\t" not in text
    assert repr(loads(text)) == repr(value)


def test_wire_integers_longer_than_decimal_text_may_be() -> None:
    assert loads(dumps(-(10**5000))) == -(10**5000)


def test_wire_nan() -> None:
    assert math.isnan(loads(dumps(math.nan)))


def test_wire_dictionaries_of_the_library_become_plain() -> None:
    for value in (
        collections.Counter("aab"),
        collections.OrderedDict(a=2, b=1),
        collections.defaultdict(int, a=2, b=1),
    ):
        back = loads(dumps(value))
        assert type(back) is dict
        assert back == {"a": 2, "b": 1}


def test_wire_numpy_scalars_are_told_apart_at_the_top_only() -> None:
    scalar = loads(dumps(np.float64(1.5)))
    assert isinstance(scalar, Scalar)
    assert scalar.value == 1.5
    assert loads(dumps([np.int64(3), np.bool_(True)])) == [3, True]


class Agreeable:
    def __eq__(self, other: object) -> bool:
        return True

    def __hash__(self) -> int:
        return 0


class Text(str):
    __slots__ = ()


class Number(int):
    def __eq__(self, other: object) -> bool:
        return True

    __hash__ = int.__hash__


@pytest.mark.parametrize(
    "value",
    [
        Agreeable(),
        Text("x"),
        Number(3),
        [Agreeable()],
        {Text("x"): 1},
        range(3),
        iter([1]),
        int,
        np.arange(3),
        Ellipsis,
    ],
)
def test_wire_other_types_are_refused(value: Any) -> None:
    with pytest.raises(TypeError, match="not plain data"):
        dumps(value)


@pytest.mark.parametrize(
    ("wire", "fault"),
    [
        (1.5, "numbers are integers"),
        ({"a": 1}, "neither a plain value"),
        ([], "neither a plain value"),
        ([1], "neither a plain value"),
        (["x", "1"], "no such value"),
        (["i", 3], "no such value"),
        (["i", "0x1", "0x2"], "no such value"),
        (["n", 1, 2], "no such value"),
        (["f", "none"], "invalid hexadecimal"),
        (["d", [1, 2, 3]], "too many values"),
    ],
)
def test_wire_reading_is_strict(wire: Any, fault: str) -> None:
    with pytest.raises(ValueError, match=fault):
        loads(json.dumps(wire))


@pytest.mark.parametrize("text", ["", "NaN", "-Infinity", "__import__('os')", "[[[[[[", "1 2"])
def test_wire_text_that_dumps_does_not_write(text: str) -> None:
    with pytest.raises(ValueError, match=r"Expecting value|numbers are integers|Extra data"):
        loads(text)


def test_wire_nested_too_deeply_or_unhashable() -> None:
    with pytest.raises(RecursionError, match="recursion"):
        loads('["l",' * 100_000 + "1" + "]" * 100_000)
    with pytest.raises(TypeError, match="unhashable"):
        loads('["S",["l"]]')
