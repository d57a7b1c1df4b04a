"""Trials that differ in their seed only are one candidate, which has their mean."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from bai_sweep.records import Diagnosis, EvalReport, Score, TrialResult


@dataclass(frozen=True)
class Candidate:
    """What is chosen among.

    Args:
        result: its trial, or the mean over its replicates under the number of the first.
        members: the trials behind it.
    """

    result: TrialResult
    members: tuple[TrialResult, ...]

    @property
    def number(self) -> int:
        """Of its first trial."""
        return self.result.number

    @property
    def label(self) -> str:
        """Its swept parameters, without the seed if there are others."""
        point = point_of(self.result)
        return replace(self.result, params=point).label if point else self.result.label

    @property
    def is_trained(self) -> bool:
        """Whether it has been through RL, so that another seed would give another model."""
        return any(member.telemetry for member in self.members)

    @property
    def seeds(self) -> tuple[int, ...]:
        """Of its members."""
        return tuple(seed_of(member) for member in self.members)


def candidates(results: Sequence[TrialResult], others: Sequence[TrialResult] = ()) -> list[Candidate]:
    """One for each point, in the order of their first trials.

    Args:
        results: a study's own trials.
        others: trials of other studies; one at a point of `results` with a seed of its own is a further replicate.
    """
    groups: dict[str, list[TrialResult]] = {}
    for result in sorted(results, key=lambda result: result.number):
        groups.setdefault(_key(result, groups), []).append(result)
    for other in others:
        group = groups.get(_key(other, {}))
        if group and seed_of(other) not in map(seed_of, group):
            group.append(other)
    return [Candidate(_mean(group), tuple(group)) for group in groups.values()]


def point_of(result: TrialResult) -> dict[str, Any]:
    """Its swept parameters but the seed."""
    return {key: value for key, value in result.params.items() if key != "seed"}


def seed_of(result: TrialResult) -> int:
    """Its training seed."""
    return int(result.params.get("seed", result.seed))


def _key(result: TrialResult, groups: Mapping[str, Sequence[TrialResult]]) -> str:
    """Its point. A point tried again with a seed it has had is one of its own: it says nothing of seeds."""
    point = point_of(result)
    # Without anything else that is swept, seeds are what is compared.
    key = repr(sorted(point.items())) if point else f"trial {result.number}"
    while any(seed_of(member) == seed_of(result) for member in groups.get(key, ())):
        key += " again"
    return key


def _mean(group: Sequence[TrialResult]) -> TrialResult:
    first = group[0]
    if len(group) == 1:
        return first
    shared = [name for name in _names(first) if all(name in _names(other) for other in group)]
    missing = {name: why for result in group for name, why in result.report.missing.items()}
    missing |= {name: "not scored with every seed" for r in group for name in _names(r) if name not in shared}
    return replace(
        first,
        params=point_of(first),
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
