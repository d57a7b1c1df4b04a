"""The recommendation and the paragraph that explains it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from bai_sweep.config import SelectionConfig
from bai_sweep.records import Choice, TrialResult
from bai_sweep.selection._bootstrap import TIE, best_probabilities, noise_is_known, overall_draws
from bai_sweep.selection._eligibility import ineligible
from bai_sweep.selection._replicates import Candidate, candidate_draws, candidates


def choose(results: Sequence[TrialResult], config: SelectionConfig, seed: int) -> Choice:
    """The eligible trial with the best overall score.

    A trial with a certain fault is never eligible; `config` says whether a suspected one is, and the budgets of KL
    and length. Trials whose scores are equal are ranked by the smaller final KL, then by number. Trials that differ in
    their seed only are judged by their mean, and all are out if one is; the choice names the first of them.

    Args:
        results: the finished trials of one study, in any order.
        config: the rule.
        seed: of the bootstrap; the same seed gives the same probabilities.
    """
    points = candidates(results)
    trials = [point.result for point in points]
    faults = ineligible(results, config)
    barred = {point.result.number: why for point in points if (why := _why_barred(point, faults))}
    chosen = [point for point in points if point.result.number not in barred]
    eligible = [point.result for point in chosen]
    probability = {result.number: 0.0 for result in results}
    everyone = {m.number: barred[p.result.number] for p in points if p.result.number in barred for m in p.members}
    if not eligible:
        return Choice(None, (), probability, everyone, _nobody(trials, barred), clear=False)
    members = [member for point in chosen for member in point.members]
    draws = dict(zip([m.number for m in members], overall_draws(members, config.bootstrap, seed).T, strict=True))
    shares = best_probabilities(candidate_draws(chosen, draws, seed))
    for point, share in zip(chosen, shares, strict=True):
        probability |= {member.number: float(share) for member in point.members}
    ranked = _ranked(eligible)
    clear = len(trials) > 1 and noise_is_known(eligible) and probability[ranked[0].number] >= config.confident
    reason = " ".join(
        [_lead(ranked, probability, clear, len(trials)), *_noise(eligible), *_ruled_out(trials, barred, ranked[0])]
    )
    return Choice(ranked[0].number, tuple(r.number for r in ranked), probability, everyone, reason, clear)


def _why_barred(point: Candidate, faults: Mapping[int, str]) -> str:
    """All its trials' reasons; of a repeated point with the seed that each is of."""
    if len(point.members) == 1:
        return faults.get(point.result.number, "")
    return "; ".join(f"seed {m.seed}: {faults[m.number]}" for m in point.members if m.number in faults)


def _ranked(eligible: Sequence[TrialResult]) -> list[TrialResult]:
    def key(result: TrialResult) -> tuple[int, float, int]:
        kl = result.diagnosis.final_kl
        return -round(result.report.overall / TIE), math.inf if math.isnan(kl) else kl, result.number

    return sorted(eligible, key=key)


def _lead(ranked: Sequence[TrialResult], probability: Mapping[int, float], clear: bool, finished: int) -> str:
    winner = ranked[0]
    score = f"{winner.report.overall:.1f}{_error(winner)} points overall"
    if len(ranked) == 1:
        why = "the only trial: there is nothing to compare it with" if finished == 1 else "the only eligible trial"
        return f"{winner.label} is {why}; it scores {score}."
    runner_up = ranked[1]
    gap = winner.report.overall - runner_up.report.overall
    sure, next_sure = (_probability(probability[result.number]) for result in (winner, runner_up))
    if clear:
        lead = f"{winner.label} scores {score}, {gap:.1f} ahead of {runner_up.label}"
        return f"{lead}, and is best with probability {sure}."
    lead = f"leads by {gap:.1f} points" if gap > TIE else f"ties with {runner_up.label}"
    return (
        f"{winner.label} {lead} ({score}), but is best with probability {sure} only: not clear; "
        f"runner-up {runner_up.label} ({next_sure}). More items or more seeds would tell them apart."
    )


def _error(result: TrialResult) -> str:
    error = result.report.overall_stderr
    return f" ± {error:.1f}" if math.isfinite(error) else ""


def _probability(value: float) -> str:
    if value > 0.995:
        return "over 0.99"
    return f"{value:.2f}" if value >= 0.005 else "under 0.01"


def _noise(eligible: Sequence[TrialResult]) -> list[str]:
    if noise_is_known(eligible):
        return []
    return ["Some scores carry neither items nor an error, so that the noise is not known."]


def _ruled_out(trials: Sequence[TrialResult], barred: Mapping[int, str], winner: TrialResult) -> list[str]:
    if not barred:
        return []
    listed = "; ".join(
        f"{trial.label}{_higher(trial, winner)} ({barred[trial.number]})" for trial in trials if trial.number in barred
    )
    return [f"Ruled out: {listed}."]


def _higher(trial: TrialResult, winner: TrialResult) -> str:
    """A ruled-out trial that scores higher is news, and said."""
    overall = trial.report.overall
    return f", though it scores {overall:.1f}" if overall > winner.report.overall else ""


def _nobody(trials: Sequence[TrialResult], barred: Mapping[int, str]) -> str:
    if not trials:
        return "No trial has finished, so there is nothing to recommend."
    listed = "; ".join(f"{trial.label} ({barred[trial.number]})" for trial in trials)
    return f"No trial is eligible, so none is recommended: {listed}."
