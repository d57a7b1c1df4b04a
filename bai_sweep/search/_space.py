"""A search space: its dimensions, when each of them counts, and what all trials have in common."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from bai_sweep.search._dimensions import Dimension, Point, Scalar, Value

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from optuna.trial import Trial


@dataclass(frozen=True)
class Condition:
    """`key` has one of `values` (as overrides write them)."""

    key: str
    values: tuple[str, ...]

    def holds(self, dimension: Dimension, value: Any) -> bool:
        """Whether `value` of the key's dimension is one of these."""
        written = dimension.override(value).partition("=")[2]
        return written in self.values or any(_meant(written) == _meant(v) for v in self.values)


@dataclass(frozen=True)
class Space:
    """The swept dimensions in the order of the grid, and the overrides every trial has.

    A dimension with `conditions` is swept only where all of them hold; elsewhere it keeps its configured value and is
    not in the point.
    """

    dimensions: tuple[Dimension, ...]
    fixed: tuple[str, ...]
    conditions: Mapping[str, tuple[Condition, ...]] = field(default_factory=dict)

    @property
    def is_finite(self) -> bool:
        return all(d.choices is not None for d in self.dimensions)

    def described(self) -> dict[str, str]:
        """Each swept key with what the user wrote."""
        return {d.key: d.text + self._when(d.key) for d in self.dimensions}

    def grid(self) -> list[Point]:
        """Every point of a finite space; the last key varies fastest, as in Hydra's own sweeper."""
        return self._distinct(self._points((d.choices or ()) for d in self.dimensions))

    def probes(self, limit: int) -> list[Point]:
        """The points to check before a study: all combinations, or one key at a time where these are too many."""
        values = [d.probes for d in self.dimensions]
        combinations = list(itertools.islice(self._points(values), limit + 1))
        if len(combinations) <= limit:
            return self._distinct(combinations)
        first = combinations[0]
        return self._distinct(
            self._where(d.key, first) | {d.key: value} for d in self.dimensions for value in d.probes
        )

    def suggest(self, trial: Trial) -> Point:
        """A point of the sampler's choice."""
        point: Point = {}
        for dimension in self._by_need():
            if self._holds(dimension.key, point):
                point[dimension.key] = dimension.suggest(trial)
        return {d.key: point[d.key] for d in self.dimensions if d.key in point}

    def encode(self, point: Mapping[str, Any]) -> dict[str, Scalar]:
        """Optuna's parameters of a point, or of the part of it that is known.

        Raises:
            ValueError: a key is not swept, or its value is outside.
        """
        known = {d.key: d for d in self.dimensions}
        if strange := [key for key in point if key not in known]:
            raise ValueError(f"{strange[0]} is not swept; swept are {', '.join(known) or 'no keys'}")
        return {name: value for key in point for name, value in known[key].encode(point[key]).items()}

    def distributions(self) -> dict[str, BaseDistribution]:
        """What Optuna draws from, by parameter."""
        return {name: drawn for d in self.dimensions for name, drawn in d.distributions().items()}

    def overrides(self, point: Mapping[str, Any]) -> list[str]:
        """What a trial at `point` adds to the command line."""
        return [*self.fixed, *(d.override(point[d.key]) for d in self.dimensions if d.key in point)]

    def _points(self, values: Iterable[tuple[Value, ...]]) -> Iterator[Point]:
        keys = [d.key for d in self.dimensions]
        return (dict(zip(keys, point, strict=True)) for point in itertools.product(*values))

    def _distinct(self, points: Iterable[Point]) -> list[Point]:
        """Without the keys that do not count, so that points which differ in these only are one."""
        kept = (self.active(point) for point in points)
        return list({repr(sorted(point.items())): point for point in kept}.values())

    def active(self, point: Mapping[str, Any]) -> Point:
        """The part of a point that counts.

        Raises:
            KeyError: it lacks a key that counts.
        """
        active: Point = {}
        for dimension in self._by_need():
            if self._holds(dimension.key, active):
                active[dimension.key] = point[dimension.key]
        return {key: value for key, value in point.items() if key in active}

    def _where(self, key: str, point: Point) -> Point:
        """`point`, changed as far as it must be for `key` to count."""
        for c in self.conditions.get(key, ()):
            needed = next(d for d in self.dimensions if d.key == c.key)
            value = next((v for v in needed.probes if c.holds(needed, v)), point[c.key])
            point = self._where(c.key, point | {c.key: value})
        return point

    def _by_need(self) -> list[Dimension]:
        """A dimension after those that decide whether it counts."""
        done: dict[str, Dimension] = {}
        while len(done) < len(self.dimensions):
            for d in self.dimensions:
                if d.key not in done and all(c.key in done for c in self.conditions.get(d.key, ())):
                    done[d.key] = d
        return list(done.values())

    def _holds(self, key: str, point: Mapping[str, Any]) -> bool:
        known = {d.key: d for d in self.dimensions}
        return all(c.key in point and c.holds(known[c.key], point[c.key]) for c in self.conditions.get(key, ()))

    def _when(self, key: str) -> str:
        conditions = " and ".join(f"{c.key}={','.join(c.values)}" for c in self.conditions.get(key, ()))
        return f" if {conditions}" if conditions else ""


def _meant(text: str) -> float | str:
    """A number however it is written, a truth in either case; else the text."""
    try:
        return float(text)
    except ValueError:
        return text.lower() if text.lower() in ("true", "false") else text
