"""Which rules a study's plan compares, and what they would have saved of earlier trials."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from bai_sweep.config import NoRL, TrialConfig
from bai_sweep.planning._curves import curve_of
from bai_sweep.planning._pruners import FEWEST, Saving, compares_steps, configured_pruners, replay
from bai_sweep.records import StepTelemetry

USUAL_METRIC = "objective/scores"
ORDERS = 20
USUAL_DETECTORS = ("length_collapse", "kl_blow_up")
"""What the collapse rule is shown with where a study has none; a reward that dips early may climb again."""


@dataclass(frozen=True)
class Ending:
    """How a study ends trials early.

    Args:
        pruner: Optuna's, as `_target_` and arguments; None for none.
        metric: What it compares; None or one of the evaluation: `objective/scores` is replayed.
        direction: Of the metric.
        window: Steps whose mean is reported.
        collapse: Detectors whose certain verdict ends a trial.
        patience: Steps in a row that they have to be certain.
    """

    pruner: Mapping[str, Any] | None = None
    metric: str | None = None
    direction: Literal["maximize", "minimize"] = "maximize"
    window: int = 5
    collapse: Sequence[str] = ()
    patience: int = 3


@dataclass(frozen=True)
class Savings:
    """What rules would have saved.

    Args:
        trials: That were replayed.
        rows: One for each rule.
        chosen: The rule that is the study's own; empty where it cannot be replayed.
        note: What was replayed, or why nothing was.
    """

    trials: int
    rows: tuple[Saving, ...]
    chosen: str
    note: str


def savings_of(telemetry: Sequence[Sequence[StepTelemetry]], config: TrialConfig, ending: Ending) -> Savings:
    """Replays earlier trials with the pruners of conf/, the collapse rule, and the study's own choice of both.

    Args:
        telemetry: Of the earlier trials.
        config: A point of the study: steps and the detectors' thresholds.
        ending: The study's.
    """
    whole = [trial for trial in telemetry if trial]
    if isinstance(config.rl, NoRL) or len(whole) < FEWEST:
        found = f"{len(whole)} earlier trial{'s' if len(whole) != 1 else ''} like these"
        return Savings(len(whole), (), "", f"nothing to replay: {found}, and {FEWEST} are the fewest that tell")
    metric, window = ending.metric, ending.window
    by_step = metric is None or not metric.startswith("eval/")
    shown = metric if metric is not None and by_step else USUAL_METRIC
    rules = rules_of(config.rl.steps, ending.pruner, ending.collapse, by_step=by_step)
    curves = [
        curve_of(
            trial,
            shown,
            window=window,
            detectors=rules.detectors,
            patience=ending.patience,
            stability=config.stability,
        )
        for trial in whole
    ]
    way = ending.direction if by_step else "maximize"
    rows = replay(curves, rules.pruners, collapse=rules.collapsing, direction=way, orders=ORDERS, seed=config.seed)
    note = f"{len(whole)} earlier trials replayed in {ORDERS} random orders on {shown}, mean of {window} steps"
    return Savings(len(whole), rows, rules.own, note if by_step else f"{note}; {metric} is no metric of PPO's steps")


@dataclass(frozen=True)
class Rules:
    """What is compared.

    Args:
        pruners: Optuna's, by the rule's name; None: none.
        collapsing: The rules that end collapsed trials too.
        detectors: That say which these are.
        own: The study's rule; empty where it cannot be replayed.
    """

    pruners: Mapping[str, Mapping[str, Any] | None]
    collapsing: tuple[str, ...]
    detectors: tuple[str, ...]
    own: str


def rules_of(steps: int, pruner: Mapping[str, Any] | None, collapse: Sequence[str], *, by_step: bool) -> Rules:
    """The pruners of conf/, the collapse rule alone, and the study's own choice.

    Args:
        steps: Of a trial of the study.
        pruner: The study's.
        collapse: Its detectors.
        by_step: Whether its pruner compares a metric of PPO's steps.
    """
    detectors = tuple(collapse) or USUAL_DETECTORS
    alone = f"collapse ({', '.join(detectors)})"
    known = {**configured_pruners(steps), alone: None}
    if pruner is not None and str(pruner.get("_target_", "")).endswith("NopPruner"):
        pruner = None
    if pruner is not None and not (by_step and compares_steps(pruner)):
        return Rules(known, (alone,), detectors, "")
    own = "none" if pruner is None else next((k for k, v in known.items() if v == dict(pruner)), "this pruner")
    known[own] = pruner
    if not collapse:
        return Rules(known, (alone,), detectors, own)
    if pruner is None:
        return Rules(known, (alone,), detectors, alone)
    both = f"{own} and collapse"
    return Rules({**known, both: pruner}, (alone, both), detectors, both)
