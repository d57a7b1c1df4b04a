"""The swept keys: each proposes a value, tells Optuna's parameters of one, and writes it as an override."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from optuna.trial import Trial

Scalar = str | int | float | bool | None
Value = Scalar | dict[str, float]
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
    def suggest(self, trial: Trial) -> Value:
        """A value of the sampler's choice."""

    def encode(self, value: Any) -> dict[str, Scalar]:
        """Optuna's parameters of a value, as `suggest` would have drawn them; ValueError if it is not in here."""

    def distributions(self) -> Mapping[str, BaseDistribution]:
        """What Optuna draws from, by parameter."""

    def override(self, value: Any) -> str:
        """The value on a command line."""


@dataclass(frozen=True)
class Choices:
    """Named alternatives without an order: numbers, words, options of a config group, mappings of weights."""

    key: str
    name: str  # the key as an override writes it, with its + and @package
    text: str
    choices: tuple[Value, ...]
    elements: tuple[str, ...]  # each choice as an override writes it, quoted where it must be

    @property
    def probes(self) -> tuple[Value, ...]:
        return self.choices

    @property
    def _drawn(self) -> tuple[Scalar, ...]:
        """What Optuna chooses among: it takes no mappings."""
        return self.elements if any(isinstance(c, dict) for c in self.choices) else self.choices  # type: ignore[return-value]

    def suggest(self, trial: Trial) -> Value:
        try:
            drawn = trial.suggest_categorical(self.key, self._drawn)
        except ValueError:
            # Optuna takes no other choices for a parameter that it knows; a point of a grid that was changed by force
            # is known all the same.
            drawn = trial.storage.get_trial_system_attrs(trial._trial_id).get("fixed_params", {}).get(self.key)
            if drawn not in self._drawn:
                raise
        return self.choices[self._drawn.index(drawn)]

    def encode(self, value: Any) -> dict[str, Scalar]:
        return {self.key: self._drawn[self._index(value)]}

    def distributions(self) -> Mapping[str, BaseDistribution]:
        from optuna.distributions import CategoricalDistribution

        return {self.key: CategoricalDistribution(self._drawn)}

    def override(self, value: Any) -> str:
        return f"{self.name}={self.elements[self._index(value)]}"

    def _index(self, value: Any) -> int:
        if value in self.choices:
            return self.choices.index(value)
        if str(value) in self.elements:
            return self.elements.index(str(value))
        raise ValueError(f"{self.key} is one of {', '.join(self.elements)}; got {value!r}")


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
        return self._nearest(trial.suggest_float(self.key, low, high, step=self.step))

    def encode(self, value: Any) -> dict[str, Scalar]:
        number = number_of(self.key, value)
        nearest = self._nearest(number)
        if abs(nearest - number) > 1e-9 * max(1.0, abs(number)):
            raise ValueError(f"{self.key} is one of {', '.join(map(str, self.choices))}; got {value!r}")
        return {self.key: nearest}

    def distributions(self) -> Mapping[str, BaseDistribution]:
        from optuna.distributions import FloatDistribution, IntDistribution

        low, high = min(self.choices), max(self.choices)
        if isinstance(low, int) and isinstance(high, int):
            return {self.key: IntDistribution(low, high, step=int(self.step))}
        return {self.key: FloatDistribution(low, high, step=self.step)}

    def override(self, value: Any) -> str:
        return f"{self.name}={value!r}"

    def _nearest(self, value: float) -> int | float:
        return min(self.choices, key=lambda choice: abs(choice - value))  # low + k*step is off by an ulp


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

    def encode(self, value: Any) -> dict[str, Scalar]:
        number = number_of(self.key, value)
        if not self.low <= number <= self.high:
            raise ValueError(f"{self.key} is from {self.low} to {self.high}; got {value!r}")
        if isinstance(self.low, int) and isinstance(self.high, int):
            if number != int(number):
                raise ValueError(f"{self.key} is a whole number; got {value!r}")
            number = int(number)
        return {self.key: number}

    def distributions(self) -> Mapping[str, BaseDistribution]:
        from optuna.distributions import FloatDistribution, IntDistribution

        if isinstance(self.low, int) and isinstance(self.high, int):
            return {self.key: IntDistribution(self.low, self.high, log=self.log)}
        return {self.key: FloatDistribution(self.low, self.high, log=self.log)}

    def override(self, value: Any) -> str:
        return f"{self.name}={value!r}"


def number_of(key: str, value: Any) -> int | float:
    """`value` itself, if it is a number; else ValueError."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"{key} is a number; got {value!r}")
    return value
