"""Trials that differ in their seed only are one candidate, which has their mean."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from bai_sweep.records import Diagnosis, EvalReport, Score, TrialResult
from bai_sweep.selection._bootstrap import Floats


@dataclass(frozen=True)
class Candidate:
    """What is chosen among.

    Args:
        result: its trial, or the mean over its replicates under the number of the first.
        members: the trials behind it.
    """

    result: TrialResult
    members: tuple[TrialResult, ...]


def candidates(results: Sequence[TrialResult]) -> list[Candidate]:
    """One for each point, in the order of their first trials."""
    groups: dict[str, list[TrialResult]] = {}
    for result in sorted(results, key=lambda result: result.number):
        point = {key: value for key, value in result.params.items() if key != "seed"}
        # Without anything else that is swept, seeds are what is compared.
        key = repr(sorted(point.items())) if point and "seed" in result.params else str(result.number)
        groups.setdefault(key, []).append(result)
    return [Candidate(_mean(group), tuple(group)) for group in groups.values()]


def candidate_draws(chosen: Sequence[Candidate], draws: Mapping[int, Floats], seed: int) -> Floats:
    """Overall scores of resampled evaluations and seeds, of shape (resamples, candidates).

    Args:
        chosen: the candidates.
        draws: of every trial behind them, by number, of shape (resamples,): the same items in each row.
        seed: of the resampled seeds.
    """
    rng = np.random.default_rng([seed, 1])
    columns = []
    for candidate in chosen:
        own = np.stack([draws[member.number] for member in candidate.members], axis=1)
        count = own.shape[1]
        drawn = rng.integers(count, size=(own.shape[0], count)) if count > 1 else np.zeros((own.shape[0], 1), int)
        columns.append(np.take_along_axis(own, drawn, axis=1).mean(axis=1))
    return np.stack(columns, axis=1)


def _mean(group: Sequence[TrialResult]) -> TrialResult:
    first = group[0]
    if len(group) == 1:
        return first
    shared = [name for name in _names(first) if all(name in _names(other) for other in group)]
    missing = {name: why for result in group for name, why in result.report.missing.items()}
    missing |= {name: "not scored with every seed" for r in group for name in _names(r) if name not in shared}
    point = {key: value for key, value in first.params.items() if key != "seed"}
    return replace(
        first,
        params=point,
        report=EvalReport(tuple(_mean_score(name, group) for name in shared), missing),
        diagnosis=Diagnosis(
            verdicts=tuple(verdict for result in group for verdict in result.diagnosis.verdicts),
            final_kl=_average([result.diagnosis.final_kl for result in group]),
            length_ratio=_average([result.diagnosis.length_ratio for result in group]),
        ),
    )


def _mean_score(name: str, group: Sequence[TrialResult]) -> Score:
    """The mean over seeds, with the standard error of that mean over seeds; its items belong to no single model."""
    scores = [next(s for s in result.report.scores if s.benchmark == name) for result in group]
    values = np.array([score.value for score in scores])
    error = float(values.std(ddof=1) / math.sqrt(len(values)))
    return Score(name, float(values.mean()), error, scores[0].n, scores[0].metric)


def _names(result: TrialResult) -> list[str]:
    return [score.benchmark for score in result.report.scores]


def _average(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)
