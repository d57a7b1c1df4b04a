"""What is compared: the benchmarks' mean, a weighted mean, or a user's expression."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from bai_sweep.config import QUANTITIES, Formula, SelectionConfig
from bai_sweep.records import TrialResult
from bai_sweep.selection._draws import Floats

_OVERALL = ("overall", "eval/overall")


@dataclass(frozen=True)
class Objective:
    """A number to maximise for each trial, a function of its benchmarks and of what its training did.

    Args:
        name: in words.
        needed: the benchmarks that it depends on.
        weights: of these in a weighted mean; none for an expression.
        formula: the expression.
    """

    name: str
    needed: tuple[str, ...]
    weights: Mapping[str, float] | None = None
    formula: Formula | None = None

    def value(self, result: TrialResult) -> float:
        """A trial's own; NaN where it lacks something."""
        scores = {score.benchmark: score.value for score in result.report.scores}
        if not self.needed or any(name not in scores for name in self.needed):
            return math.nan
        columns = {name: np.array([[scores[name]]]) for name in self.needed}
        return float(self.of_draws(columns, [result])[0, 0])

    def of_draws(self, draws: Mapping[str, Floats], results: Sequence[TrialResult]) -> Floats:
        """Its values on drawn scores.

        Args:
            draws: of each benchmark needed, shape (resamples, trials).
            results: the trials.

        Returns:
            shape (resamples, trials).
        """
        if self.formula is None:
            weights = self.weights or {}
            total = math.fsum(weights.values())
            summed: Floats = np.sum([weight / total * draws[name] for name, weight in weights.items()], axis=0)
            return summed
        first = next(iter(draws.values()))
        return np.broadcast_to(self.formula(self._quantities(draws, results)), first.shape).copy()

    def _quantities(self, draws: Mapping[str, Floats], results: Sequence[TrialResult]) -> dict[str, Floats]:
        known = {alias: column for name, column in draws.items() for alias in (name, f"eval/{name}")}
        overall: Floats = np.mean([draws[name] for name in self.needed], axis=0)
        known |= dict.fromkeys(_OVERALL, overall)
        lengths = np.array([result.diagnosis.length_ratio for result in results])
        divergences = np.array([result.diagnosis.final_kl for result in results])
        known |= {"length_ratio": lengths, "stability/length_ratio": lengths}
        known |= {"final_kl": divergences, "objective/final_kl": divergences}
        asked = [name.split("/")[1] for name in self.formula.names if _is_severity(name)] if self.formula else []
        severities = {name: [0.0] * len(results) for name in asked}
        for slot, result in enumerate(results):
            for verdict in result.diagnosis.verdicts:
                if column := severities.get(verdict.detector):
                    column[slot] = max(column[slot], verdict.severity)
        return known | {f"stability/{name}/severity": np.array(column) for name, column in severities.items()}


def objective_of(config: SelectionConfig, benchmarks: Collection[str]) -> Objective:
    """The configured one over these benchmarks."""
    every = tuple(sorted(benchmarks))
    if isinstance(config.objective, dict):
        weights = {name: weight for name, weight in config.objective.items() if weight > 0.0}
        shown = ", ".join(f"{name} {weight:g}" for name, weight in weights.items())
        return Objective(f"weighted mean ({shown})", tuple(weights), weights)
    if config.objective == "mean":
        return Objective("mean of the benchmarks", every, dict.fromkeys(every, 1.0))
    formula = Formula(config.objective)
    scores = [name for name in formula.names if name not in QUANTITIES and not _is_severity(name)]
    used = tuple(dict.fromkeys(name.removeprefix("eval/") for name in scores))
    whole = any(name in _OVERALL for name in formula.names) or not used
    return Objective(formula.text, (*every, *(set(used) - set(every))) if whole else used, formula=formula)


def score_objective(benchmark: str) -> Objective:
    """One benchmark's score."""
    return Objective(benchmark, (benchmark,), {benchmark: 1.0})


def _is_severity(name: str) -> bool:
    return name.startswith("stability/") and name.endswith("/severity")
