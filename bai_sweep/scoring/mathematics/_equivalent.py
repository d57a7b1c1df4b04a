"""Whether two answers are the same: by spelling, then by value, then by a computer algebra system."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Sequence
from functools import partial

from bai_sweep.scoring.mathematics._normal import normalise, words
from bai_sweep.scoring.mathematics._numbers import numeral_in_base, rational
from bai_sweep.scoring.mathematics._process import same_value
from bai_sweep.scoring.mathematics._structure import Answer, Collection, Equation, Expression, balanced, structure

LONGEST = 1000  # characters of a candidate that is looked at; the longest answer of MATH-500 has 53

_UNORDERED = {"list", "{}", "union"}
_BASE = re.compile(r"\d_")
_SIDE_BY_SIDE = re.compile(r"\d \d")

Compare = Callable[[str, str], bool]


def equivalent(candidate: str, reference: str, *, seconds: float = 5.0) -> bool:
    r"""Whether a candidate is the reference answer, written otherwise.

    Text answers are compared by their words; numbers exactly (0.5 is 1/2, 0.333 is not 1/3); lists and sets in any
    order; tuples, intervals (brackets included), matrices entry by entry in order; `x = 5` answers 5 and the other way
    round; numerals with a base digit by digit and base by base. What is left are pairs of expressions, whose
    difference math-verify has to simplify to nothing, in a process of its own.

    Args:
        candidate: What was extracted; untrusted.
        reference: Of the data set.
        seconds: Processor time that comparing two expressions may take, and a third of the wall time of the whole;
            what takes longer is not equivalent.
    """
    if len(candidate) > LONGEST:
        return False
    if (named := words(reference)) is not None:
        return named == words(candidate) or named == words(rf"\text{{{candidate.strip()}}}")
    ours, theirs = normalise(candidate), normalise(reference)
    if ours == theirs:
        return bool(ours)
    if not ours or not theirs:
        return False
    compare = partial(_same_expression, end=time.monotonic() + 3 * seconds, seconds=seconds)
    return _same(structure(ours), structure(theirs), compare)


def _same(ours: Answer, theirs: Answer, compare: Compare) -> bool:
    if isinstance(ours, Equation) or isinstance(theirs, Equation):
        return _same_equation(ours, theirs, compare)
    if isinstance(ours, Expression) and isinstance(theirs, Expression):
        return compare(ours.text, theirs.text)
    if isinstance(ours, Collection) and isinstance(theirs, Collection) and len(ours.items) == len(theirs.items):
        if {ours.kind, theirs.kind} in ({"list"}, {"{}"}, {"list", "{}"}, {"union"}):
            return _same_in_any_order(ours.items, theirs.items, compare)
        if ours.kind == theirs.kind or {ours.kind, theirs.kind} == {"list", "()"}:
            return all(_same(a, b, compare) for a, b in zip(ours.items, theirs.items, strict=True))
    return False


def _same_equation(ours: Answer, theirs: Answer, compare: Compare) -> bool:
    if isinstance(ours, Equation) and isinstance(theirs, Equation):
        if ours.left == theirs.left and theirs.names_its_value:
            return _same(ours.value, theirs.value, compare)
        plain = isinstance(ours.value, Expression) and isinstance(theirs.value, Expression)
        return plain and compare(ours.text, theirs.text)
    if isinstance(ours, Equation):
        return ours.states_a_value and _same(ours.value, theirs, compare)
    return isinstance(theirs, Equation) and theirs.names_its_value and _same(ours, theirs.value, compare)


def _same_in_any_order(ours: Sequence[Answer], theirs: Sequence[Answer], compare: Compare) -> bool:
    """Pairs what is written alike, then the rest; equivalence is transitive, so any partner is as good as another."""
    left = [item for item in theirs if item not in ours]
    for item in (item for item in ours if item not in theirs):
        partner = next((k for k, other in enumerate(left) if _same(item, other, compare)), None)
        if partner is None:
            return False
        del left[partner]
    return not left


def _same_expression(ours: str, theirs: str, *, end: float, seconds: float) -> bool:
    if ours == theirs:
        return True
    values = rational(ours), rational(theirs)
    if None not in values:
        return values[0] == values[1]
    if _BASE.search(ours) or _BASE.search(theirs):
        return numeral_in_base(ours) is not None and numeral_in_base(ours) == numeral_in_base(theirs)
    if not ours or not theirs or _SIDE_BY_SIDE.search(ours) or not balanced(ours):
        return False  # no mathematics, which takes the library long to find out
    left = end - time.monotonic()
    return left > 0.0 and same_value(ours, theirs, min(seconds, left))
