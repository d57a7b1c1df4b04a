"""The paragraph that explains a choice, and each loser's sentence."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bai_sweep.config import SelectionConfig
from bai_sweep.selection._candidates import Candidate
from bai_sweep.selection._draws import TIE, Floats
from bai_sweep.selection._measure import Measured
from bai_sweep.selection._objective import Objective
from bai_sweep.selection._ties import less_stable


@dataclass(frozen=True)
class Outcome:
    """What the words are about.

    Args:
        points: all of the study.
        barred: the reason of each that may not win, by number.
        chosen: the eligible ones, in the order of `measured`.
        measured: their objectives.
        ranked: their indices, the recommended first.
        probability: that each of them is best.
        clear: whether the first is.
        noise_known: whether all scores have items or errors.
        objective: what was compared.
    """

    points: Sequence[Candidate]
    barred: Mapping[int, str]
    chosen: Sequence[Candidate]
    measured: Measured
    ranked: Sequence[int]
    probability: Floats
    clear: bool
    noise_known: bool
    objective: Objective

    @property
    def leader(self) -> int:
        """Index of the one with the highest objective; the recommended one if it shares it."""
        best = float(self.measured.values.max())
        return next(slot for slot in self.ranked if self.measured.values[slot] >= best - TIE)


def reason(outcome: Outcome, config: SelectionConfig) -> str:
    """One paragraph: who, by how much, how surely, on what ground, and who was ruled out."""
    parts = [_lead(outcome, config), *_noise(outcome), *_ruled_out(outcome)]
    return " ".join(part for part in parts if part)


def losses(outcome: Outcome, behind: Floats, lows: Floats, highs: Floats) -> dict[int, str]:
    """Why each eligible point but the first was not taken, by index; from how far each is behind the leader."""
    return {slot: _loss(outcome, slot, (behind[slot], lows[slot], highs[slot])) for slot in outcome.ranked[1:]}


def nobody(points: Sequence[Candidate], barred: Mapping[int, str]) -> str:
    """The paragraph where no point may win."""
    if not points:
        return "No trial has finished, so there is nothing to recommend."
    listed = "; ".join(f"{point.label} ({barred[point.number]})" for point in points)
    return f"No trial is eligible, so none is recommended: {listed}."


def _loss(outcome: Outcome, slot: int, distance: tuple[float, float, float]) -> str:
    behind, low, high = distance
    winner, loser = outcome.chosen[outcome.ranked[0]], outcome.chosen[slot]
    span = f"({low:.1f} to {high:.1f})"
    if low > 0.0:
        return f"behind by {behind:.1f} points {span}"
    # what stands before the winner in score, or was not ranked by it, lost by its stability
    if behind <= TIE or behind < outcome.measured.values[outcome.leader] - outcome.measured.values[outcome.ranked[0]]:
        why = less_stable(loser, winner) or "its number is higher"
        return f"as good within noise, but less stable: {why}"
    return f"behind by {behind:.1f} points {span}, which may be noise"


def _lead(outcome: Outcome, config: SelectionConfig) -> str:
    first = outcome.ranked[0]
    winner = outcome.chosen[first]
    if len(outcome.ranked) == 1:
        alone = len(outcome.points) == 1
        why = "the only trial: there is nothing to compare it with" if alone else "the only eligible trial"
        return f"{winner.label} is {why}; it scores {_score(outcome, first)}.{_missing_seeds(outcome, config)}"
    if first != outcome.leader:
        return _stable_lead(outcome)
    runner_up = max(outcome.ranked[1:], key=lambda slot: (outcome.probability[slot], -outcome.ranked.index(slot)))
    gap, (low, high) = outcome.measured.difference(first, runner_up)
    sure, next_sure = (_probability(outcome.probability[slot]) for slot in (first, runner_up))
    rival = outcome.chosen[runner_up].label
    if outcome.clear:
        lead = f"{winner.label} scores {_score(outcome, first)}, {gap:.1f} ahead of {rival} ({low:.1f} to {high:.1f})"
        return f"{lead}, and is best with probability {sure}."
    lead = f"leads by {gap:.1f} points" if gap > TIE else f"ties with {rival}"
    if outcome.noise_known and outcome.probability[first] >= config.confident:
        return (
            f"{winner.label} {lead} ({_score(outcome, first)}) and is best with probability {sure}, but not clear:"
            f"{_missing_seeds(outcome, config)}"
        )
    return (
        f"{winner.label} {lead} ({_score(outcome, first)}), but is best with probability {sure} only: not clear; "
        f"runner-up {rival} ({next_sure})."
    )


def _stable_lead(outcome: Outcome) -> str:
    first, leader = outcome.ranked[0], outcome.leader
    winner, rival = outcome.chosen[first], outcome.chosen[leader]
    gap = outcome.measured.values[leader] - outcome.measured.values[first]
    chance = _probability(outcome.measured.chance_ahead(first, leader))
    return (
        f"{winner.label} ({_score(outcome, first)}) is taken for its stability: {rival.label} scores {gap:.1f} more, "
        f"which is within noise ({winner.label} is better with probability {chance}), and is less stable: "
        f"{less_stable(rival, winner)}."
    )


def _missing_seeds(outcome: Outcome, config: SelectionConfig) -> str:
    winner = outcome.chosen[outcome.ranked[0]]
    count = len(winner.members)
    if not winner.is_trained or count >= config.min_seeds:
        return ""
    wanted = config.min_seeds
    return f" it has {count} of the {wanted} seeds that selection.min_seeds asks for, {wanted - count} missing."


def _score(outcome: Outcome, slot: int) -> str:
    low, high = outcome.measured.intervals()[:, slot]
    value = outcome.measured.values[slot]
    unit = "points overall" if outcome.objective.name == "mean of the benchmarks" else f"by {outcome.objective.name}"
    return f"{value:.1f} {unit} ({low:.1f} to {high:.1f})" if outcome.noise_known else f"{value:.1f} {unit}"


def _probability(value: float) -> str:
    if value > 0.995:
        return "over 0.99"
    return f"{value:.2f}" if value >= 0.005 else "under 0.01"


def _noise(outcome: Outcome) -> list[str]:
    if not outcome.noise_known:
        return ["Some scores carry neither items nor an error, so that the noise is not known."]
    noise = outcome.measured.seed_noise
    if not any(candidate.is_trained for candidate in outcome.chosen) or len(outcome.points) == 1:
        return []
    if not noise.dof:
        alone = "Intervals and probabilities are over items alone"
        return [f"{alone}: with one seed a point, the noise of training is not known."]
    spread = math.sqrt(noise.variance)
    return [f"Training seeds differ by {spread:.1f} points (standard deviation, {noise.dof} degrees of freedom)."]


def _ruled_out(outcome: Outcome) -> list[str]:
    best = float(outcome.measured.values[outcome.ranked[0]])
    listed = "; ".join(
        f"{point.label}{_higher(outcome, point, best)} ({outcome.barred[point.number]})"
        for point in outcome.points
        if point.number in outcome.barred
    )
    return [f"Ruled out: {listed}."] if listed else []


def _higher(outcome: Outcome, point: Candidate, best: float) -> str:
    """A ruled-out point that scores higher is news, and said."""
    values = [outcome.objective.value(member) for member in point.members]
    mean = math.fsum(values) / len(values)
    return f", though it scores {mean:.1f}" if mean > best else ""
