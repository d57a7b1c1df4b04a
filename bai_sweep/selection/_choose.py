"""The recommendation, from eligibility to the trials to run next."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from bai_sweep.config import SelectionConfig
from bai_sweep.records import Choice, Standing, TrialResult, UserError
from bai_sweep.selection._candidates import Candidate, candidates
from bai_sweep.selection._draws import best_probabilities, noise_is_known
from bai_sweep.selection._eligibility import benchmarks_of, ineligible
from bai_sweep.selection._evidence import Evidence, evidence
from bai_sweep.selection._floors import below_floors
from bai_sweep.selection._measure import Measured, measure
from bai_sweep.selection._objective import Objective, objective_of
from bai_sweep.selection._proposal import propose
from bai_sweep.selection._references import others
from bai_sweep.selection._ties import order
from bai_sweep.selection._words import Outcome, losses, nobody, reason


def choose(results: Sequence[TrialResult], config: SelectionConfig, seed: int) -> Choice:
    """The eligible point with the best objective, or one as good within noise that is more stable.

    Trials that differ in their seed only are one point, judged by their mean, and all are out if one is; the choice
    names the first of them. docs/selection.md has the rule and its measured error rates.

    Args:
        results: the finished trials of one study, in any order.
        config: the rule.
        seed: of the bootstrap; the same seed gives the same probabilities.
    """
    more, complaint = _others(config)
    points = candidates(results, more)
    objective = objective_of(config, benchmarks_of(results))
    barred = _barred(points, config, seed)
    chosen = [point for point in points if point.number not in barred]
    everyone = {m.number: barred[p.number] for p in points if p.number in barred for m in _own(p)}
    if not chosen:
        probability = {result.number: 0.0 for result in results}
        standings = tuple(_barred_standing(point, barred[point.number], objective) for point in points)
        text = nobody(points, barred) + complaint
        return Choice(
            None, (), probability, everyone, text, clear=False, objective=objective.name, standings=standings
        )
    measured = measure(chosen, objective, config.bootstrap, seed)
    outcome = _outcome(points, barred, chosen, objective, measured, config=config)
    first = chosen[outcome.ranked[0]]
    missing = _evidence(outcome, config)
    return Choice(
        winner=first.number,
        ranking=tuple(chosen[slot].number for slot in outcome.ranked),
        best_probability={result.number: 0.0 for result in results} | _probabilities(outcome),
        ineligible=everyone,
        reason=" ".join(part for part in (reason(outcome, config) + complaint, missing.text) if part),
        clear=outcome.clear,
        objective=objective.name,
        standings=_standings(outcome),
        seed_noise=math.sqrt(measured.seed_noise.variance) if measured.seed_noise.dof else math.nan,
        equal=tuple(chosen[slot].number for slot in missing.equal),
        evidence=missing.text,
        next_trials=missing.trials,
        proposal=propose(points, chosen, measured, winner=outcome.ranked[0], config=config, seed=seed),
    )


def _outcome(
    points: Sequence[Candidate],
    barred: Mapping[int, str],
    chosen: Sequence[Candidate],
    objective: Objective,
    measured: Measured,
    *,
    config: SelectionConfig,
) -> Outcome:
    ranked = order(chosen, measured, config)
    probability = best_probabilities(measured.draws)
    winner = chosen[ranked[0]]
    known = noise_is_known([member for point in chosen for member in point.members], objective.needed)
    repeated = not winner.is_trained or len(winner.members) >= config.min_seeds
    clear = len(points) > 1 and known and repeated and bool(probability[ranked[0]] >= config.confident)
    return Outcome(points, barred, chosen, measured, ranked, probability, clear, known, objective)


def _others(config: SelectionConfig) -> tuple[list[TrialResult], str]:
    """Trials of other studies. A folder that is gone is said, and does not cost a finished study its report."""
    try:
        return others(config), ""
    except UserError as error:
        return [], f" selection.also was left out: {error}."


def _barred(points: Sequence[Candidate], config: SelectionConfig, seed: int) -> dict[int, str]:
    faults = ineligible([member for point in points for member in point.members], config)
    barred = {point.number: why for point in points if (why := _why_barred(point, faults))}
    left = [point for point in points if point.number not in barred]
    return barred | below_floors(left, points, config, seed)


def _why_barred(point: Candidate, faults: Mapping[int, str]) -> str:
    """All its trials' reasons; of a repeated point with the seed that each is of."""
    if len(point.members) == 1:
        return faults.get(point.number, "")
    told = zip(point.seeds, point.members, strict=True)
    return "; ".join(f"seed {seed}: {faults[m.number]}" for seed, m in told if m.number in faults)


def _evidence(outcome: Outcome, config: SelectionConfig) -> Evidence:
    if not outcome.noise_known or len(outcome.points) == 1:
        return Evidence()
    return evidence(outcome.chosen, outcome.measured, outcome.ranked, config, clear=outcome.clear)


def _probabilities(outcome: Outcome) -> dict[int, float]:
    shares = zip(outcome.chosen, outcome.probability, strict=True)
    return {member.number: float(share) for point, share in shares for member in _own(point)}


def _own(point: Candidate) -> list[TrialResult]:
    """Its trials of this study."""
    return [member for member in point.members if member.number >= 0]


def _standings(outcome: Outcome) -> tuple[Standing, ...]:
    lows, highs = outcome.measured.intervals()
    behind, (nearest, farthest) = outcome.measured.behind(outcome.leader)
    lost = losses(outcome, behind, nearest, farthest)
    eligible = [
        Standing(
            number=outcome.chosen[slot].number,
            trials=tuple(member.number for member in _own(outcome.chosen[slot])),
            label=outcome.chosen[slot].label,
            seeds=len(outcome.chosen[slot].members),
            value=float(outcome.measured.values[slot]),
            low=float(lows[slot]),
            high=float(highs[slot]),
            behind=float(behind[slot]),
            behind_low=float(nearest[slot]),
            behind_high=float(farthest[slot]),
            best_probability=float(outcome.probability[slot]),
            reason=lost.get(slot, ""),
        )
        for slot in outcome.ranked
    ]
    out = [point for point in outcome.points if point.number in outcome.barred]
    return (*eligible, *(_barred_standing(p, outcome.barred[p.number], outcome.objective) for p in out))


def _barred_standing(point: Candidate, why: str, objective: Objective) -> Standing:
    value = math.fsum(objective.value(member) for member in point.members) / len(point.members)
    trials = tuple(member.number for member in _own(point))
    return Standing(
        point.number, trials, point.label, len(point.members), value, reason=f"ruled out: {why}", eligible=False
    )
