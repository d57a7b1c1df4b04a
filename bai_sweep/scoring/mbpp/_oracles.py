"""Whether an output is right: evalplus's rules (evalplus/eval/__init__.py `unsafe_execute`, _special_oracle.py)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal

from bai_sweep.scoring.mbpp._wire import Digest, Scalar

# Outputs that cannot be compared, such as a match object: that there is one is what counts.
_EXISTENCE = ("check_str", "text_match_three", "text_starta_endb")
# Lists whose order and repetitions do not count.
_MEMBERS = (
    "similar_elements",
    "find_char_long",
    "common_in_nested_lists",
    "extract_singly",
    "larg_nnum",
    "intersection_array",
    "find_dissimilar",
    "Diff",
)
_FLOAT_TOLERANCE = 1e-6  # absolute, where a task states none and floats are expected
_RELATIVE_TOLERANCE = 1e-7

Mode = Literal["value", "members", "exists", "expected exists"]


def mode_of(entry_point: str, *, expected: bool) -> Mode:
    """What of an output leaves the sandbox (see `_harness.presented`)."""
    if entry_point in _MEMBERS:
        return "members"
    if entry_point in _EXISTENCE:
        return "expected exists" if expected else "exists"
    return "value"


def passed(
    entry_point: str, inputs: Sequence[Sequence[Any]], expected: Sequence[Any], outputs: Sequence[Any], atol: float
) -> int:
    """How many of a candidate's outputs are right before the first wrong one.

    As in evalplus, a task's zero tolerance becomes 1e-6 with the first test that expects floats, and stays so.

    Args:
        entry_point: Decides about special rules.
        inputs: As the function got them.
        expected: Of the canonical solution, built-in types.
        outputs: Of the candidate, built-in types or `Scalar`; may be fewer.
        atol: The task's.
    """
    for count, (arguments, target, output) in enumerate(zip(inputs, expected, outputs, strict=False)):
        if atol == 0 and _is_floats(target):
            atol = _FLOAT_TOLERANCE
        try:
            right = _is_right(entry_point, arguments, target, output, atol)
        except (TypeError, ValueError, OverflowError, RecursionError):  # values that cannot be compared differ
            right = False
        if not right:
            return count
    return min(len(inputs), len(expected), len(outputs))


def _is_right(entry_point: str, arguments: Sequence[Any], target: Any, output: Any, atol: float) -> bool:
    value = output.value if isinstance(output, Scalar) else output
    if isinstance(target, Digest):
        return bool(value == target)
    if entry_point in _MEMBERS:
        exact = set(value) == set(target)
    else:
        exact = value == target or _is_accepted(entry_point, arguments, value, atol)
    if exact or atol == 0:
        return exact
    if type(output) is not type(target) or (isinstance(target, list | tuple) and len(value) != len(target)):
        return False
    import numpy as np

    return bool(np.allclose(value, target, rtol=_RELATIVE_TOLERANCE, atol=atol))


def _is_accepted(entry_point: str, arguments: Sequence[Any], value: Any, atol: float) -> bool:
    """Tasks whose statement leaves open more than the canonical solution gives."""
    if entry_point == "are_equivalent":  # Mbpp/164: its canonical solution is wrong
        return True
    if entry_point == "sum_div":  # Mbpp/295
        return bool(value == 0)
    if entry_point == "surface_Area":  # Mbpp/581: the height of the pyramid instead of the slant height
        base, height = arguments
        slant = math.sqrt((base / 2) ** 2 + height**2)
        return bool(abs(value - round(base**2 + 4 * (base * slant) / 2)) <= atol)
    if entry_point == "digit_distance_nums":  # Mbpp/558: numbers of different length, padded with zeros
        first, second = map(str, arguments)
        width = max(len(first), len(second))
        pairs = zip(first.zfill(width), second.zfill(width), strict=True)
        return bool(value == sum(abs(int(left) - int(right)) for left, right in pairs))
    return False


def _is_floats(value: Any) -> bool:
    if isinstance(value, list | tuple):
        return bool(value) and all(isinstance(item, float) for item in value)
    return isinstance(value, float)
