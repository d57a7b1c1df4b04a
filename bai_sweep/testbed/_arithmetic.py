"""Chains of additions and subtractions, their split, and the exact steps that solve them."""

from __future__ import annotations

import hashlib
import itertools
import random
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

Split = Literal["train", "heldout"]

LIMIT = 99
MAX_START = 90
MAX_OPERAND = 12
MIN_TERMS, MAX_TERMS = 3, 6
HELDOUT_PERCENT = 10
ERRORS = (-10, -2, -1, 1, 2, 10)
"""What a small model gets wrong: a digit off, or a carry missed."""


@dataclass(frozen=True)
class Problem:
    """`start` followed by signed operands; every partial sum lies in 0..99."""

    start: int
    operands: tuple[int, ...]

    @property
    def text(self) -> str:
        """The chain as written, for example ``49 - 7 + 8``."""
        return str(self.start) + signed(self.operands)

    @property
    def answer(self) -> int:
        """The exact value."""
        return self.start + sum(self.operands)

    @property
    def split(self) -> Split:
        """One problem in ten is held out, by a hash of its text: no build seed can move it."""
        digest = hashlib.blake2b(self.text.encode(), digest_size=4).digest()
        return "heldout" if int.from_bytes(digest, "big") % 100 < HELDOUT_PERCENT else "train"


def signed(operands: Iterable[int]) -> str:
    """Operands with their signs, each preceded by a space: `` - 7 + 8``."""
    return "".join(f" {'+' if x >= 0 else '-'} {abs(x)}" for x in operands)


def draw_problem(rng: random.Random, split: Split = "train", n_terms: int | None = None) -> Problem:
    """A problem of the given split, of `n_terms` terms or of a uniformly drawn number."""
    n = n_terms or rng.randint(MIN_TERMS, MAX_TERMS)
    while True:
        start = total = rng.randint(1, MAX_START)
        operands = []
        for _ in range(n - 1):
            x = draw_operand(total, rng)
            operands.append(x)
            total += x
        problem = Problem(start, tuple(operands))
        if problem.split == split:
            return problem


def draw_operand(total: int, rng: random.Random) -> int:
    """A signed operand that keeps `total` within 0..99."""
    size = rng.randint(1, MAX_OPERAND)
    signs = [s for s in (1, -1) if 0 <= total + s * size <= LIMIT]
    return rng.choice(signs) * size


def grouped(items: tuple[int, ...], size: int) -> list[tuple[int, ...]]:
    """Consecutive groups of `size` items; the last may be shorter."""
    return [items[i : i + size] for i in range(0, len(items), size)]


def solve(problem: Problem, group: int = 1, slip: random.Random | None = None) -> tuple[str, int]:
    """Works the chain out in steps that each apply `group` operands.

    Args:
        problem: The chain.
        group: Operands applied in one step; the brevity of the derivation.
        slip: If given, one step, drawn by it, goes wrong, and the later steps go on from the wrong value.

    Returns:
        The steps as text (``49 - 7 = 42. 42 + 8 = 50.``) and the value they end in.
    """
    groups = grouped(problem.operands, group)
    wrong, error = draw_slip(problem.start, groups, slip) if slip else (-1, 0)
    total, steps = problem.start, []
    for i, operands in enumerate(groups):
        result = total + sum(operands) + error * (i == wrong)
        steps.append(f"{total}{signed(operands)} = {result}.")
        total = result
    return " ".join(steps), total


def draw_slip(start: int, groups: list[tuple[int, ...]], rng: random.Random) -> tuple[int, int]:
    """A step and the error made in it, such that the values that follow stay within 0..99."""
    values = list(itertools.accumulate(map(sum, groups), initial=start))[1:]
    slips = [(i, e) for i in range(len(groups)) for e in ERRORS if all(0 <= v + e <= LIMIT for v in values[i:])]
    return rng.choice(slips)


def slipped(value: int, rng: random.Random) -> int:
    """A wrong value of the same kind."""
    return value + draw_slip(value, [(0,)], rng)[1]
