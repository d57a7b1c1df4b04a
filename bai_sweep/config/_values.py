"""The kinds of value that sections share, and the error that lists every fault."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Annotated, Self

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from bai_sweep.records import UserError
from bai_sweep.sources import fault_of


class ConfigError(UserError):
    """Every fault of a configuration, in one message."""

    @classmethod
    def of(cls, faults: Sequence[str]) -> Self:
        """Of faults that each name a key."""
        plural = "s" if len(faults) > 1 else ""
        return cls(f"bad configuration, {len(faults)} fault{plural}:\n" + "\n".join(f"  - {f}" for f in faults))


def _existing_source(source: str) -> str:
    if fault := fault_of(source):
        raise ValueError(fault)
    return source


def _sums_to_one(weights: dict[str, float]) -> dict[str, float]:
    total = math.fsum(weights.values())
    if abs(total - 1.0) > 1e-6:
        raise ValueError(f"weights must sum to 1; these sum to {total:g}; scale them or change one")
    return weights


def _plain_name(name: str) -> str:
    if not re.fullmatch(r"\w[\w.-]*", name):
        raise ValueError(
            f"a name may hold letters, digits, '.', '_' and '-', the first a letter or digit; got {name!r}"
        )
    return name


def _no_truth(value: object) -> object:
    if isinstance(value, bool):
        raise ValueError("a number is needed, not true or false")
    return value


Number = BeforeValidator(_no_truth)
"""Refuses a truth, of which pydantic makes 1 or 0."""

Source = Annotated[str, AfterValidator(_existing_source)]
Name = Annotated[str, AfterValidator(_plain_name)]
Ratio = Annotated[float, Field(ge=0.0, le=1.0), Number]
Decay = Annotated[float, Field(ge=0.0, lt=1.0), Number]
Weights = Annotated[dict[str, Ratio], Field(min_length=1), AfterValidator(_sums_to_one)]
Density = Annotated[float, Field(gt=0.0, le=1.0), Number]
Positive = Annotated[float, Field(gt=0.0, allow_inf_nan=False), Number]
NonNegative = Annotated[float, Field(ge=0.0, allow_inf_nan=False), Number]
Count = Annotated[int, Field(ge=1), Number]
Seed = Annotated[int, Field(ge=0, lt=2**63), Number]


class Section(BaseModel):
    """A part of the configuration: unknown keys are faults, values are frozen."""

    model_config = ConfigDict(extra="forbid", frozen=True)
