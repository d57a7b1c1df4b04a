"""Weights that sum to 1, drawn uniformly: `weights=tag(simplex, interval(0, 1))`.

The N - 1 parameters that a sampler sees are independent and uniform on [0, 1]; breaking a stick at
`1 - u_k^(1 / (N - k))` of what is left makes of them a point that is uniform on the simplex, a Dirichlet(1, ..., 1)
draw (Devroye, Non-Uniform Random Variate Generation, 1986, chapter XI.4: the shares of order k are Beta(1, N - k)).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bai_sweep.search._dimensions import Scalar, Value, number_of

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from optuna.trial import Trial


@dataclass(frozen=True)
class Simplex:
    """The shares of `members`, at least two."""

    key: str
    name: str
    text: str
    members: tuple[str, ...]

    @property
    def choices(self) -> None:
        return None

    @property
    def probes(self) -> tuple[Value, ...]:
        """Every corner."""
        return tuple({other: float(other == member) for other in self.members} for member in self.members)

    @property
    def parameters(self) -> tuple[str, ...]:
        """Optuna's names of the breaks: `weights/instruct`, one fewer than there are members."""
        return tuple(f"{self.key}/{member}" for member in self.members[:-1])

    def suggest(self, trial: Trial) -> Value:
        return shares(self.members, [trial.suggest_float(name, 0.0, 1.0) for name in self.parameters])

    def encode(self, value: Any) -> dict[str, Scalar]:
        if not isinstance(value, Mapping) or set(value) != set(self.members):
            raise ValueError(f"{self.key} has a weight for each of {', '.join(self.members)}; got {value!r}")
        weights = [float(number_of(f"{self.key}.{member}", value[member])) for member in self.members]
        if not (min(weights) >= 0 and abs(math.fsum(weights) - 1.0) <= 1e-6):
            raise ValueError(f"{self.key} are at least 0 and sum to 1; got {value!r}")
        return dict(zip(self.parameters, breaks(weights), strict=True))

    def distributions(self) -> Mapping[str, BaseDistribution]:
        from optuna.distributions import FloatDistribution

        return {name: FloatDistribution(0.0, 1.0) for name in self.parameters}

    def override(self, value: Any) -> str:
        return f"{self.name}={{{','.join(f'{member}: {value[member]!r}' for member in self.members)}}}"


def shares(members: Sequence[str], uniform: Sequence[float]) -> dict[str, float]:
    """Weights of `members` (N) from N - 1 uniform numbers; they sum to 1 up to rounding."""
    left, weights = 1.0, {}
    for index, (member, u) in enumerate(zip(members[:-1], uniform, strict=True)):
        weights[member] = left * (1.0 - u ** (1.0 / (len(members) - 1 - index)))
        left -= weights[member]
    return weights | {members[-1]: max(left, 0.0)}


def breaks(weights: Sequence[float]) -> list[float]:
    """The uniform numbers that `shares` makes these weights of."""
    left, found = 1.0, []
    for index, weight in enumerate(weights[:-1]):
        share = min(max(weight / left, 0.0), 1.0) if left > 0 else 0.0
        found.append((1.0 - share) ** (len(weights) - 1 - index))
        left -= weight
    return found


def lattice(members: Sequence[str], parts: int) -> list[dict[str, float]]:
    """All weights that are multiples of `1 / parts` and sum to 1, the last member's growing last."""

    def split(left: int, count: int) -> list[list[int]]:
        if count == 1:
            return [[left]]
        return [[first, *rest] for first in range(left, -1, -1) for rest in split(left - first, count - 1)]

    return [
        {member: part / parts for member, part in zip(members, row, strict=True)} for row in split(parts, len(members))
    ]
