"""Benchmarks on which a point may not be worse than a number or a reference."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from bai_sweep.config import Floor, SelectionConfig
from bai_sweep.records import TrialResult, UserError
from bai_sweep.selection._candidates import Candidate, point_of
from bai_sweep.selection._measure import measure
from bai_sweep.selection._objective import Objective, score_objective
from bai_sweep.selection._references import reference_in


def below_floors(
    points: Sequence[Candidate], everyone: Sequence[Candidate], config: SelectionConfig, seed: int
) -> dict[int, str]:
    """Points that are below a floor or cannot be compared with it, by number, each with all its reasons.

    A point's score is its mean over seeds. It is below where its estimate is; the reason has the 95 % interval of the
    difference to a reference, paired over items where both have them.

    Args:
        points: that may win otherwise.
        everyone: all of the study, a reference may be among those that may not win.
        config: the rule.
        seed: of the bootstrap.
    """
    reasons: dict[int, list[str]] = {point.number: [] for point in points}
    for benchmark, floor in config.floors.items():
        for number, reason in _below(benchmark, floor, points, everyone, bootstrap=(config.bootstrap, seed)).items():
            reasons[number].append(reason)
    return {number: "; ".join(listed) for number, listed in reasons.items() if listed}


def _below(
    benchmark: str,
    floor: Floor,
    points: Sequence[Candidate],
    everyone: Sequence[Candidate],
    *,
    bootstrap: tuple[int, int],
) -> dict[int, str]:
    scored = [point for point in points if _score(point.result, benchmark) is not None]
    absent = {p.number: f"no {benchmark} to compare with its floor" for p in points if p not in scored}
    if floor.min is not None:
        low = [point for point in scored if not _value(point, benchmark) >= floor.min]
        return absent | {p.number: f"{benchmark} {_value(p, benchmark):.1f} is below {floor.min:g}" for p in low}
    try:
        reference, name = _reference(floor.reference, benchmark, everyone)
    except UserError as error:
        return {point.number: f"the floor of {benchmark} cannot be checked: {error}" for point in points}
    slack = floor.slack or 0.0
    return absent | _worse(scored, reference, name, score_objective(benchmark), slack, bootstrap=bootstrap)


def _worse(
    scored: Sequence[Candidate],
    reference: Candidate,
    name: str,
    objective: Objective,
    slack: float,
    *,
    bootstrap: tuple[int, int],
) -> dict[int, str]:
    rivals = [point for point in scored if point.number != reference.number]
    if not rivals:
        return {}
    measured = measure([reference, *rivals], objective, *bootstrap)
    found = {}
    for slot, point in enumerate(rivals, start=1):
        deficit, (low, high) = measured.difference(0, slot)
        if deficit > slack:
            surely = "" if low > slack else ", not surely"
            span = f"{deficit:.1f} points ({low:.1f} to {high:.1f})"
            found[point.number] = f"{objective.name} {span} below {name}, more than the {slack:g} allowed{surely}"
    return found


def _reference(
    wanted: str | Mapping[str, Any] | None, benchmark: str, everyone: Sequence[Candidate]
) -> tuple[Candidate, str]:
    """The reference and its name.

    Raises:
        UserError: it is not there, there are several, or it has no such score.
    """
    if isinstance(wanted, str):
        result = replace(reference_in(wanted), number=-1)  # none of this study's
        found, name = Candidate(result, (result,)), wanted
    else:
        asked = wanted or {}
        name = ", ".join(f"{key}={value}" for key, value in asked.items())
        alike = [p for p in everyone if all(_same(point_of(p.result).get(k), v) for k, v in asked.items())]
        if len(alike) != 1:
            listed = "; ".join(p.label for p in alike) or "no finished trial"
            raise UserError(f"{name} names one point of the study; it fits {listed}")
        found = alike[0]
    if _score(found.result, benchmark) is None:
        raise UserError(f"{name} has no {benchmark}")
    return found, name


def _same(one: object, other: object) -> bool:
    return one == other or str(one) == str(other)


def _score(result: TrialResult, benchmark: str) -> float | None:
    return next((s.value for s in result.report.scores if s.benchmark == benchmark and s.value == s.value), None)


def _value(point: Candidate, benchmark: str) -> float:
    value = _score(point.result, benchmark)
    if value is None:
        raise LookupError(benchmark)  # callers ask only where there is one
    return value
