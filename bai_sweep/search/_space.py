"""A search space: one dimension per swept key, each able to propose a value and to write it as an override."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from optuna.trial import Trial

Value = str | int | float | bool | None
Point = dict[str, Value]


class Dimension(Protocol):
    """One swept key.

    `key` is its config name, `text` what the user wrote, `choices` its finite values or None, and `probes` the
    values to check before a study starts.
    """

    @property
    def key(self) -> str: ...
    @property
    def text(self) -> str: ...
    @property
    def choices(self) -> tuple[Value, ...] | None: ...
    @property
    def probes(self) -> tuple[Value, ...]: ...
    def suggest(self, trial: Trial) -> Value: ...
    def override(self, value: Value) -> str: ...


@dataclass(frozen=True)
class Choices:
    """Named alternatives without an order: numbers, words, options of a config group."""

    key: str
    name: str  # the key as an override writes it, with its + and @package
    text: str
    choices: tuple[Value, ...]
    elements: tuple[str, ...]  # each choice as an override writes it, quoted where it must be

    @property
    def probes(self) -> tuple[Value, ...]:
        return self.choices

    def suggest(self, trial: Trial) -> Value:
        return trial.suggest_categorical(self.key, self.choices)

    def override(self, value: Value) -> str:
        return f"{self.name}={self.elements[self.choices.index(value)]}"


@dataclass(frozen=True)
class Steps:
    """Evenly spaced numbers, low to high; samplers know that they are ordered."""

    key: str
    name: str
    text: str
    choices: tuple[int, ...] | tuple[float, ...]  # in the order of the grid, which may descend
    step: float

    @property
    def probes(self) -> tuple[Value, ...]:
        return self.choices

    def suggest(self, trial: Trial) -> Value:
        low, high = min(self.choices), max(self.choices)
        if isinstance(low, int) and isinstance(high, int):
            return trial.suggest_int(self.key, low, high, step=int(self.step))
        value = trial.suggest_float(self.key, low, high, step=self.step)
        return min(self.choices, key=lambda choice: abs(choice - value))  # low + k*step is off by an ulp

    def override(self, value: Value) -> str:
        return f"{self.name}={value!r}"


@dataclass(frozen=True)
class Interval:
    """All numbers from low to high, both included; `log` asks for a logarithmic scale."""

    key: str
    name: str
    text: str
    low: float
    high: float
    log: bool

    @property
    def choices(self) -> None:
        return None

    @property
    def probes(self) -> tuple[Value, ...]:
        return (self.low, self.high)

    def suggest(self, trial: Trial) -> Value:
        if isinstance(self.low, int) and isinstance(self.high, int):
            return trial.suggest_int(self.key, self.low, self.high, log=self.log)
        return trial.suggest_float(self.key, self.low, self.high, log=self.log)

    def override(self, value: Value) -> str:
        return f"{self.name}={value!r}"


@dataclass(frozen=True)
class Space:
    """The swept dimensions in the order of the grid, and the overrides every trial has."""

    dimensions: tuple[Dimension, ...]
    fixed: tuple[str, ...]

    @property
    def is_finite(self) -> bool:
        return all(d.choices is not None for d in self.dimensions)

    def described(self) -> dict[str, str]:
        """Each swept key with what the user wrote."""
        return {d.key: d.text for d in self.dimensions}

    def grid(self) -> list[Point]:
        """Every point of a finite space; the last key varies fastest, as in Hydra's own sweeper."""
        return list(self._points((d.choices or ()) for d in self.dimensions))

    def probes(self, limit: int) -> list[Point]:
        """The points to check before a study: all combinations, or one key at a time where these are too many."""
        values = [d.probes for d in self.dimensions]
        combinations = list(itertools.islice(self._points(values), limit + 1))
        if len(combinations) <= limit:
            return combinations
        first = combinations[0]
        singles = [first | {d.key: value} for d in self.dimensions for value in d.probes]
        return list({tuple(point.items()): point for point in singles}.values())

    def overrides(self, point: Mapping[str, Any]) -> list[str]:
        """What a trial at `point` adds to the command line."""
        return [*self.fixed, *(d.override(point[d.key]) for d in self.dimensions)]

    def _points(self, values: Iterable[tuple[Value, ...]]) -> Iterator[Point]:
        keys = [d.key for d in self.dimensions]
        return (dict(zip(keys, point, strict=True)) for point in itertools.product(*values))
