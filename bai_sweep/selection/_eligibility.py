"""Who may win: stable trials inside their budgets, scored on every benchmark of the study."""

from __future__ import annotations

import math
from collections.abc import Sequence

from bai_sweep.config import SelectionConfig
from bai_sweep.records import TrialResult


def ineligible(results: Sequence[TrialResult], config: SelectionConfig) -> dict[int, str]:
    """The trials that may not win, by number, each with all its reasons."""
    benchmarks = {score.benchmark for result in results for score in result.report.scores}
    reasons = {result.number: "; ".join(_reasons(result, benchmarks, config)) for result in results}
    return {number: reason for number, reason in reasons.items() if reason}


def _reasons(result: TrialResult, benchmarks: set[str], config: SelectionConfig) -> list[str]:
    if result.pruned is not None:
        return [f"ended early, {result.pruned}"]
    return [
        *_verdict_reasons(result, config),
        *_budget_reasons(result, config),
        *_score_reasons(result, benchmarks),
    ]


def _verdict_reasons(result: TrialResult, config: SelectionConfig) -> list[str]:
    barred = {"certain"} if config.allow_suspected else {"certain", "suspected"}
    return [
        f"{verdict.detector.replace('_', ' ')} is {verdict.level}"
        + (f" from step {verdict.onset}" if verdict.onset else "")
        for verdict in result.diagnosis.verdicts
        if verdict.level in barred
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


def _score_reasons(result: TrialResult, benchmarks: set[str]) -> list[str]:
    scored = {score.benchmark for score in result.report.scores if math.isfinite(score.value)}
    missing = sorted((benchmarks | set(result.report.missing)) - scored)
    if missing:
        return [f"no complete overall score: {', '.join(missing)} missing"]
    return [] if math.isfinite(result.report.overall) else ["no overall score: no benchmark was run"]
