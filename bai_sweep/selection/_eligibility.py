"""Who may win: stable trials inside their budgets, scored on every benchmark that counts."""

from __future__ import annotations

import math
from collections.abc import Sequence

from bai_sweep.config import SelectionConfig
from bai_sweep.records import TrialResult
from bai_sweep.selection._objective import Objective, objective_of


def ineligible(results: Sequence[TrialResult], config: SelectionConfig) -> dict[int, str]:
    """The trials that may not win whatever the others do, by number, each with all its reasons.

    Floors are not among these: they are asked of a point's mean over seeds.
    """
    objective = objective_of(config, benchmarks_of(results))
    reasons = {result.number: "; ".join(_reasons(result, objective, config)) for result in results}
    return {number: reason for number, reason in reasons.items() if reason}


def benchmarks_of(results: Sequence[TrialResult]) -> set[str]:
    """Every benchmark that a trial was asked for."""
    scored = {score.benchmark for result in results for score in result.report.scores}
    return scored | {name for result in results for name in result.report.missing}


def _reasons(result: TrialResult, objective: Objective, config: SelectionConfig) -> list[str]:
    if result.pruned is not None:
        return [f"ended early, {result.pruned}"]
    return [
        *_verdict_reasons(result, config),
        *_budget_reasons(result, config),
        *_score_reasons(result, objective),
    ]


def _verdict_reasons(result: TrialResult, config: SelectionConfig) -> list[str]:
    bars = {"certain": config.certain_bars, "suspected": config.suspected_bars, "none": ()}
    return [
        f"{verdict.detector.replace('_', ' ')} is {verdict.level}"
        + (f" from step {verdict.onset}" if verdict.onset else "")
        for verdict in result.diagnosis.verdicts
        if verdict.level != "none" and (bars[verdict.level] == "all" or verdict.detector in bars[verdict.level])
    ]


def _budget_reasons(result: TrialResult, config: SelectionConfig) -> list[str]:
    """A trial without RL has moved nowhere and keeps every budget; one whose measure is NaN keeps none."""
    if not result.telemetry:
        return []
    kl, ratio = result.diagnosis.final_kl, result.diagnosis.length_ratio
    reasons = []
    if config.max_kl is not None and not kl <= config.max_kl:
        reasons.append(f"final KL {kl:.3g} is over max_kl {config.max_kl:g}")
    if config.min_length_ratio is not None and not ratio >= config.min_length_ratio:
        reasons.append(f"length ratio {ratio:.3g} is below min_length_ratio {config.min_length_ratio:g}")
    return reasons


def _score_reasons(result: TrialResult, objective: Objective) -> list[str]:
    scored = {score.benchmark for score in result.report.scores if math.isfinite(score.value)}
    if not objective.needed:
        return ["no score: no benchmark was run"]
    if missing := sorted(set(objective.needed) - scored):
        return [f"no complete score: {', '.join(missing)} missing"]
    value = objective.value(result)
    return [] if math.isfinite(value) else [f"the objective ({objective.name}) is not a number"]
