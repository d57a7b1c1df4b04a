"""What a worker does while its trial runs: reports to the storage, prunes, and stops it when that is asked."""

from __future__ import annotations

import functools
import logging
import math
from collections.abc import Callable, Sequence
from typing import final

import optuna
from optuna.exceptions import UpdateFinishedTrialError
from optuna.pruners import BasePruner

from bai_sweep.config import NoRL, TrialConfig
from bai_sweep.records import EvalReport, StepTelemetry, TrialResult
from bai_sweep.search._settings import SearchSettings
from bai_sweep.signals import StopRequested, TrialPruned

_log = logging.getLogger(__name__)


@final
class TrialMonitor:
    """The monitor of one trial.

    Args:
        study: the study as pruners see it.
        trial_id: Optuna's, in the storage.
        settings: the sweeper's.
        pruner: compares trials; None where there are several objectives.
        config: the trial's, asked for once.
        others: the study's finished trials, asked for when a warning is to be learned.
        stop_asked: whether the trial shall stop at its next safe point.
    """

    def __init__(
        self,
        study: optuna.Study,
        trial_id: int,
        *,
        settings: SearchSettings,
        pruner: BasePruner | None,
        config: Callable[[], TrialConfig],
        others: Callable[[], Sequence[TrialResult]],
        stop_asked: Callable[[], bool],
    ) -> None:
        self._study, self._trial_id, self._settings, self._pruner = study, trial_id, settings, pruner
        self._config, self._stop_asked, self._others = functools.cache(config), stop_asked, others
        self._certain: dict[str, int] = {}  # steps in a row, by detector
        # Optuna compares reports by the study's own direction.
        self._sign = 1 if settings.direction[0] == settings.report.direction else -1

    def step(self, telemetry: Sequence[StepTelemetry]) -> None:
        """Reports the newest step and decides; see `Monitor`."""
        report = self._settings.report
        last = telemetry[-1]
        if report.by_step:
            recent = [t.metrics.get(report.metric, math.nan) for t in telemetry[-report.window :]]
            self._report(math.fsum(recent) / len(recent), last.step)
        self._prune_collapsed(telemetry)
        self._prune_warned(telemetry)
        if report.by_step:
            self._prune(f"at step {last.step}")
        self.safe_point()

    def screened(self, report: EvalReport) -> None:
        """Reports the cheap evaluation and decides; see `Monitor`."""
        settings = self._settings.report
        if settings.by_item:
            for index, points in enumerate(points for score in report.scores for points in score.items):
                self._report(points, index)
        elif not settings.by_step:
            value = report.overall if settings.metric == "eval/overall" else _score(report, settings.metric)
            self._report(value, 1)
        if not settings.by_step:
            self._prune("after the cheap evaluation")
        self.safe_point()

    def safe_point(self) -> None:
        """See `Monitor`."""
        if self._stop_asked():
            raise StopRequested

    def _report(self, value: float, step: int) -> None:
        if self._pruner is None or math.isnan(value):
            return
        try:
            self._study._storage.set_trial_intermediate_value(self._trial_id, step, self._sign * value)
        except UpdateFinishedTrialError:
            _log.warning("others took this worker for dead; what its trial gives will be dropped")

    def _prune(self, when: str) -> None:
        if self._pruner is None:
            return
        trial = self._study._storage.get_trial(self._trial_id)
        if not self._pruner.prune(self._study, trial):
            return
        value = self._sign * trial.intermediate_values[max(trial.intermediate_values)]
        name = type(self._pruner).__name__
        raise TrialPruned(f"{name} {when}: {self._settings.report.metric} {value:.4g} is behind other trials'")

    def _prune_collapsed(self, telemetry: Sequence[StepTelemetry]) -> None:
        rule = self._settings.collapse
        if not rule.detectors:
            return
        from bai_sweep.stability import diagnose

        config = self._config()
        steps = None if isinstance(config.rl, NoRL) else config.rl.steps
        for verdict in diagnose(telemetry, config.stability, steps=steps).verdicts:
            if verdict.detector not in rule.detectors:
                continue
            certain = self._certain.get(verdict.detector, 0) + 1 if verdict.level == "certain" else 0
            self._certain[verdict.detector] = certain
            if certain >= rule.patience:
                raise TrialPruned(
                    f"{verdict.detector} is certain at step {telemetry[-1].step}, and was for {certain} steps: "
                    f"{verdict.reason}"
                )

    def _prune_warned(self, telemetry: Sequence[StepTelemetry]) -> None:
        rule = self._settings.collapse
        if rule.warning is None or len(telemetry) != rule.warning.after:
            return
        from bai_sweep.stability import learn

        known = [(r, fate) for r in self._others() if (fate := _fate(r, rule.detectors)) is not None]
        points = [repr(sorted((k, v) for k, v in r.params.items() if k != "seed")) for r, _ in known]
        warning = learn([r.telemetry for r, _ in known], [fate for _, fate in known], points, after=rule.warning.after)
        if warning is None or warning.skill.score < rule.warning.skill:
            return
        probability = warning.probability(telemetry)
        if probability >= rule.warning.probability:
            told = f"collapses with probability {probability:.2f} ({warning.skill})"
            raise TrialPruned(f"early warning at step {telemetry[-1].step}: {told}")


def _fate(result: TrialResult, detectors: Sequence[str]) -> bool | None:
    """Whether a trial has collapsed; None where it was ended before one could tell."""
    certain = any(
        v.level == "certain" and (not detectors or v.detector in detectors) for v in result.diagnosis.verdicts
    )
    return None if result.pruned is not None and not certain else certain


def _score(report: EvalReport, metric: str) -> float:
    return next((s.value for s in report.scores if f"eval/{s.benchmark}" == metric), math.nan)
