"""What a trial must keep to: a bound on one of its metrics.

Samplers that take constraints learn from how far a trial is outside (Optuna's sign: above 0 is a violation); a best
trial is one inside all of them.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass

from bai_sweep.records import UserError


@dataclass(frozen=True)
class Constraint:
    """`metric <= bound`, or `metric >= bound`."""

    metric: str
    bound: float
    upper: bool

    def violation(self, metrics: Mapping[str, float]) -> float:
        """How far outside, in the metric's unit; at most 0 inside. A metric that is not there is infinitely far."""
        value = metrics.get(self.metric, math.nan)
        if math.isnan(value):
            return math.inf
        return value - self.bound if self.upper else self.bound - value


def parse_constraint(metric: str, text: str) -> Constraint:
    """Reads `<= 10` or `>= 0.5`.

    Raises:
        UserError: it is neither.
    """
    found = re.fullmatch(r"\s*(<=|>=)\s*([-+0-9.eE]+)\s*", text)
    try:
        bound = float(found[2]) if found else math.nan
    except ValueError:
        bound = math.nan
    if found is None or not math.isfinite(bound):
        raise UserError(f"hydra.sweeper.constraints.{metric} is a bound such as '<= 10' or '>= 0.5'; got {text!r}")
    return Constraint(metric, bound, found[1] == "<=")
