"""What pruners would have saved of earlier trials: their curves, replayed step by step in random orders."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any, Literal

from bai_sweep.planning._curves import Curve
from bai_sweep.sources import packaged_dir

FEWEST = 4
"""Trials below which a replay says nothing: Optuna's pruners begin to compare at about as many."""

_COMPARES_STEPS = ("MedianPruner", "PercentilePruner", "SuccessiveHalvingPruner", "HyperbandPruner", "PatientPruner")


@dataclass(frozen=True)
class Saving:
    """What a rule would have saved.

    Args:
        rule: What it is called.
        saved: Share of all PPO steps that would not have been run, mean over the orders, 0 to 1.
        least: Of the order in which it saved least.
        most: Of that in which it saved most.
        best_stopped: Share of the orders in which the trial with the best final value would have been ended early.
    """

    rule: str
    saved: float
    least: float
    most: float
    best_stopped: float


def replay(
    curves: Sequence[Curve],
    pruners: Mapping[str, Mapping[str, Any] | None],
    *,
    collapse: Sequence[str] = (),
    direction: Literal["maximize", "minimize"] = "maximize",
    orders: int = 20,
    seed: int = 0,
) -> tuple[Saving, ...]:
    """Feeds recorded curves to rules, one trial after another, as one worker of a study would.

    A trial that is ended keeps what it has reported, as in Optuna. All rules get the same orders.

    Args:
        curves: Of earlier trials.
        pruners: By name, Optuna's as `_target_` and arguments; None is no pruner.
        collapse: Whether the collapse rule ends trials too, by the name of the pruner it goes with.
        direction: Of the reported values.
        orders: How many random orders of the trials.
        seed: Of the orders.

    Returns:
        One for each pruner, in their order; none for fewer than four curves.
    """
    if len(curves) < FEWEST:
        return ()
    rng = random.Random(seed)
    shuffled = [rng.sample(range(len(curves)), len(curves)) for _ in range(orders)]
    best = _best(curves, direction)
    total = sum(curve.steps for curve in curves)
    found = []
    with _only_warnings():
        for name, settings in pruners.items():
            ends = [_run(curves, order, settings, name in collapse, direction) for order in shuffled]
            shares = [1.0 - sum(steps for steps, _ in run) / total for run in ends]
            stopped = fmean(best is not None and run[best][1] for run in ends)
            found.append(Saving(name, fmean(shares), min(shares), max(shares), stopped))
    return tuple(found)


def _best(curves: Sequence[Curve], direction: str) -> int | None:
    """The trial with the best final value; None if no trial has one."""
    known = [k for k, curve in enumerate(curves) if not math.isnan(curve.final)]
    sign = 1.0 if direction == "maximize" else -1.0
    return max(known, key=lambda k: sign * curves[k].final, default=None)


def _run(
    curves: Sequence[Curve],
    order: Sequence[int],
    settings: Mapping[str, Any] | None,
    collapse: bool,
    direction: Literal["maximize", "minimize"],
) -> list[tuple[int, bool]]:
    """The steps that each trial takes, and whether it was ended, in the order of `curves`."""
    import optuna
    from hydra.utils import instantiate

    pruner = optuna.pruners.NopPruner() if settings is None else instantiate(dict(settings))
    # by name, as Hyperband deals trials out to its brackets by a hash of it
    name = "-".join(map(str, order))
    sampler = optuna.samplers.RandomSampler(0)
    study = optuna.create_study(study_name=name, direction=direction, pruner=pruner, sampler=sampler)
    runs = [(0, False)] * len(curves)
    for k in order:
        trial = study.ask()
        runs[k] = _trial(trial, curves[k], curves[k].collapsed if collapse else None)
        if runs[k][1] or math.isnan(curves[k].final):
            study.tell(trial, state=optuna.trial.TrialState.PRUNED)
        else:
            study.tell(trial, curves[k].final)
    return runs


def _trial(trial: Any, curve: Curve, limit: int | None) -> tuple[int, bool]:
    """Reports a trial's values until a rule ends it, after its last step too: it would not be evaluated then."""
    for step, value in enumerate(curve.values, 1):
        if not math.isnan(value):
            trial.report(value, step)
        if step == limit or (not math.isnan(value) and trial.should_prune()):
            return step, True
    return curve.steps, False


def configured_pruners(steps: int) -> dict[str, Mapping[str, Any] | None]:
    """The pruners of conf/hydra/sweeper/pruner/ that compare trials step by step, as they are there.

    Args:
        steps: What `rl.steps` stands for in them.
    """
    from omegaconf import OmegaConf

    found: dict[str, Mapping[str, Any] | None] = {"none": None}
    for path in sorted((Path(packaged_dir("conf")) / "hydra" / "sweeper" / "pruner").glob("*.yaml")):
        # an interpolation is resolved from the root
        whole = OmegaConf.create({"rl": {"steps": steps}, "pruner": OmegaConf.load(path)})
        settings: dict[str, Any] = OmegaConf.to_container(whole.pruner, resolve=True)  # type: ignore[assignment]
        if compares_steps(settings):
            found[path.stem] = settings
    return found


def compares_steps(settings: Mapping[str, Any]) -> bool:
    """Whether an Optuna pruner, as `_target_` and arguments, compares trials at equal steps."""
    return str(settings.get("_target_", "")).rpartition(".")[2] in _COMPARES_STEPS


@contextmanager
def _only_warnings() -> Iterator[None]:
    """Optuna tells of every trial; a replay has thousands."""
    from optuna import logging

    before = logging.get_verbosity()
    logging.set_verbosity(logging.WARNING)
    try:
        yield
    finally:
        logging.set_verbosity(before)
