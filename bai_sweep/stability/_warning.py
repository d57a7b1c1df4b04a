"""The probability that a run will collapse, told from its first steps and learned from a study's other trials.

Figures of step 1 are measured before anything is learned from that step: they are the merge's own (how long it writes,
how surely, how far from the SFT models). With `after=1` a warning is a merge diagnostic; with more steps it sees the
first moves too.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, final

import numpy as np
from numpy.typing import NDArray

from bai_sweep.records import StepTelemetry

if TYPE_CHECKING:
    from sklearn.pipeline import Pipeline

FEWEST = 3
"""Trials of either fate, and points that they are of, below which nothing is learned."""

_OF_MERGES = ("objective/kl_to/", "objective/perplexity/")
_RECENT = 3  # steps whose median is where a run stands now


@dataclass(frozen=True)
class Skill:
    """How well a warning tells trials that it has not seen: each point's are left out in turn.

    Args:
        trials: That were learned from.
        collapsed: Of them.
        brier: Mean squared error of the probabilities (Brier 1950), 0 to 1.
        reference: The same of who always says the share of collapsed trials among the others.
        auc: Probability that a trial that collapsed was given the higher one than a trial that did not; 0.5 is chance.
    """

    trials: int
    collapsed: int
    brier: float
    reference: float
    auc: float

    @property
    def score(self) -> float:
        """Brier skill score: 1 for an oracle, 0 for one who knows the share only, below 0 for one who misleads."""
        return 1.0 - self.brier / self.reference

    def __str__(self) -> str:
        return f"skill {self.score:.2f}, AUC {self.auc:.2f} on {self.trials} trials, {self.collapsed} collapsed"


@final
class EarlyWarning:
    """A logistic regression on figures of the first steps; made by `learn`."""

    def __init__(self, after: int, names: Sequence[str], model: Pipeline, skill: Skill) -> None:
        self.after, self.skill = after, skill
        self._names, self._model = tuple(names), model

    def probability(self, telemetry: Sequence[StepTelemetry]) -> float:
        """That the run these steps are the beginning of will collapse; NaN if it lacks a figure."""
        known = early_figures(telemetry, self.after)
        row = np.array([[known.get(name, math.nan) for name in self._names]])
        return float(self._model.predict_proba(row)[0, 1]) if np.isfinite(row).all() else math.nan


def learn(
    runs: Sequence[Sequence[StepTelemetry]], collapsed: Sequence[bool], points: Sequence[Hashable], *, after: int
) -> EarlyWarning | None:
    """Learns from runs whose fate is known.

    Args:
        runs: Telemetry of each, from its first step.
        collapsed: Whether it did.
        points: What it is a trial of: trials that differ in their seed only are left out together.
        after: How many first steps are looked at; shorter runs are not learned from.

    Returns:
        None where there are fewer than three trials or points of either fate.
    """
    whole = zip(runs, collapsed, points, strict=True)
    told = [(run, bool(fate), point) for run, fate, point in whole if len(run) >= after]
    for fate in (True, False):
        if len({point for _, known, point in told if known is fate}) < FEWEST:
            return None
    figures = [early_figures(run, after) for run, _, _ in told]
    names = sorted(set.intersection(*(set(row) for row in figures)))
    rows = np.array([[row[name] for name in names] for row in figures])
    fates = np.array([fate for _, fate, _ in told])
    order = list(dict.fromkeys(point for _, _, point in told))
    groups = np.array([order.index(point) for _, _, point in told])
    skill = _skill(rows, fates, groups)
    return EarlyWarning(after, names, _model().fit(rows, fates), skill)


def early_figures(telemetry: Sequence[StepTelemetry], after: int) -> dict[str, float]:
    """What a warning looks at: where the run began, and where it is after so many steps; finite figures only."""
    first, recent = telemetry[0].metrics, [t.metrics for t in telemetry[max(after - _RECENT, 0) : after]]
    begun = {
        "log length": _log(first.get("completions/mean_length")),
        "log entropy": _log(first.get("policy/entropy_avg")),
        "truncated": first.get("completions/clipped_ratio", math.nan),
        "repetition": first.get("completions/repetition_ratio", math.nan),
        **{name: value for name, value in first.items() if name.startswith(_OF_MERGES)},
    }
    if after > 1:
        length, entropy = _median(recent, "completions/mean_length"), _median(recent, "policy/entropy_avg")
        begun |= {
            "change of log length": _log(length) - begun["log length"],
            "change of log entropy": _log(entropy) - begun["log entropy"],
            "change of reward": _median(recent, "objective/scores") - first.get("objective/scores", math.nan),
            "log KL": math.log1p(max(_median(recent, "objective/kl"), 0.0)),
            "truncated now": _median(recent, "completions/clipped_ratio"),
            "repetition now": _median(recent, "completions/repetition_ratio"),
        }
    return {name: value for name, value in begun.items() if math.isfinite(value)}


def _skill(rows: NDArray[np.float64], fates: NDArray[np.bool_], groups: NDArray[np.int64]) -> Skill:
    from sklearn.metrics import roc_auc_score
    from sklearn.model_selection import LeaveOneGroupOut

    told, share = np.empty(len(fates)), np.empty(len(fates))
    for others, left in LeaveOneGroupOut().split(rows, fates, groups):
        told[left] = _model().fit(rows[others], fates[others]).predict_proba(rows[left])[:, 1]
        share[left] = fates[others].mean()
    return Skill(
        trials=len(fates),
        collapsed=int(fates.sum()),
        brier=float(np.mean((told - fates) ** 2)),
        reference=float(np.mean((share - fates) ** 2)),
        auc=float(roc_auc_score(fates, told)),
    )


def _model() -> Pipeline:
    """Few trials and correlated figures: standardised, and held back by a ridge of unit strength."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    return make_pipeline(StandardScaler(), LogisticRegression(C=1.0, max_iter=1000))


def _median(rows: Sequence[Mapping[str, float]], name: str) -> float:
    values = [row[name] for row in rows if name in row]
    return float(np.median(values)) if values else math.nan


def _log(value: float | None) -> float:
    return math.log(value) if value is not None and value > 0.0 else math.nan
