"""What is missing for a clear winner: which trials to run, how many, or that none would do."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from bai_sweep.config import SelectionConfig
from bai_sweep.records import NextTrials
from bai_sweep.selection._candidates import Candidate
from bai_sweep.selection._measure import Measured
from bai_sweep.selection._next import next_seeds
from bai_sweep.selection._power import MANY, items_needed, pair_of, power_of_seeds, seeds_needed

_RIVALS = 3  # who is asked to run again beside the winner: the likeliest
_FIRST_SEEDS = 3  # a point where no seed was repeated yet: fewer tell little about their noise


@dataclass(frozen=True)
class Evidence:
    """What is missing.

    Args:
        text: for people; empty if nothing is.
        equal: candidates that are surely as good as the winner within `tie_points`.
        trials: what to run next.
    """

    text: str = ""
    equal: tuple[int, ...] = ()
    trials: tuple[NextTrials, ...] = ()


def evidence(
    chosen: Sequence[Candidate], measured: Measured, ranked: Sequence[int], config: SelectionConfig, *, clear: bool
) -> Evidence:
    """What would make the first of `ranked` clear, or show that it need not be.

    Args:
        chosen: the eligible points, whose noise is known.
        measured: their objectives.
        ranked: their indices, the recommended first.
        config: the rule.
        clear: whether it is.
    """
    winner = ranked[0]
    equal = tuple(slot for slot in ranked[1:] if _surely_equal(slot, winner, measured, config))
    if clear:
        return Evidence(equal=equal)
    possible = [s for s in ranked[1:] if measured.chance_ahead(s, winner) > 1.0 - config.confident]
    rivals = sorted((s for s in possible if s not in equal), key=lambda s: -measured.chance_ahead(s, winner))[:_RIVALS]
    contenders = [winner, *rivals]
    trained = [slot for slot in contenders if chosen[slot].is_trained]
    if possible and not rivals and not _short(chosen, [winner], config):
        names = " and ".join(chosen[slot].label for slot in equal)
        text = f"{chosen[winner].label} and {names} are equal within {config.tie_points:g} points: either is fine."
        return Evidence(text, equal)
    if trained and not measured.seed_noise.dof and (rivals or config.min_seeds > 1):
        return _first_replicates(chosen, trained, config, equal)
    if not rivals:
        return _few_seeds(chosen, winner, ranked, config, equal)
    return _more(chosen, measured, contenders, config, equal)


def _surely_equal(slot: int, winner: int, measured: Measured, config: SelectionConfig) -> bool:
    apart = np.abs(measured.draws[:, slot] - measured.draws[:, winner])
    return float((apart <= config.tie_points).mean()) >= config.confident


def _short(chosen: Sequence[Candidate], slots: Sequence[int], config: SelectionConfig) -> bool:
    return any(chosen[s].is_trained and len(chosen[s].members) < config.min_seeds for s in slots)


def _first_replicates(
    chosen: Sequence[Candidate], slots: Sequence[int], config: SelectionConfig, equal: tuple[int, ...]
) -> Evidence:
    goal = max(config.min_seeds, min(_FIRST_SEEDS, config.max_seeds))
    points = [chosen[slot] for slot in slots]
    text = (
        f"No point was run with a second seed, so the noise of training is not known: run {_names(points)} with "
        f"{goal - 1} more seeds each."
    )
    return Evidence(text, equal, _up_to(points, goal, "to learn how much seeds differ"))


def _few_seeds(
    chosen: Sequence[Candidate], winner: int, ranked: Sequence[int], config: SelectionConfig, equal: tuple[int, ...]
) -> Evidence:
    """The leader is ahead, but of too few seeds: it and who comes next."""
    points = [chosen[slot] for slot in ranked[:2] if _short(chosen, [slot], config)]
    if not _short(chosen, [winner], config):
        return Evidence(equal=equal)
    have = "has" if len(points) == 1 else "have"
    text = f"{_names(points)} {have} fewer seeds than selection.min_seeds={config.min_seeds}."
    return Evidence(text, equal, _up_to(points, config.min_seeds, "to reach selection.min_seeds"))


def _more(
    chosen: Sequence[Candidate],
    measured: Measured,
    contenders: Sequence[int],
    config: SelectionConfig,
    equal: tuple[int, ...],
) -> Evidence:
    winner, *rivals = contenders
    sure = 1.0 - (1.0 - config.confident) / len(rivals)
    pairs = [pair_of(measured, winner, rival, config.tie_points) for rival in rivals]
    points = [chosen[slot] for slot in contenders]
    trained = [point for point in points if point.is_trained]
    needed = [seeds_needed(pair, sure, config.power, config.max_seeds) if trained else None for pair in pairs]
    goals = [count for count in needed if count is not None]
    items = max(items_needed(pair, sure, config.power) for pair in pairs)
    gap = min(pair.gap for pair in pairs)
    about = f"To tell {points[0].label} from {_names(points[1:])} ({gap:.1f} points apart)"
    if len(goals) == len(pairs):
        goal = max(*goals, config.min_seeds)
        text = f"{about} takes about {goal} seeds a point{_or_items(items)}."
        return Evidence(text, equal, _up_to(trained, goal, f"to tell {_names(points)} apart"))
    if items <= MANY:
        return Evidence(f"{about} takes about {items:.1f} times the items; more seeds alone would not do.", equal)
    both = max(items_needed(pair, sure, config.power, config.max_seeds) for pair in pairs)
    if trained and both <= MANY:
        text = f"{about} takes {config.max_seeds} seeds a point and about {both:.1f} times the items."
        return Evidence(text, equal, _up_to(trained, config.max_seeds, f"to tell {_names(points)} apart"))
    chance = min(power_of_seeds(pair, sure, config.max_seeds) for pair in pairs) if trained else math.nan
    return Evidence(f"{about} {_hopeless(chance, measured, contenders, config)}", equal)


def _hopeless(chance: float, measured: Measured, contenders: Sequence[int], config: SelectionConfig) -> str:
    winner, *rivals = contenders
    bounds = [measured.difference(winner, rival)[1] for rival in rivals]
    most = max(max(abs(low), abs(high)) for low, high in bounds)
    most_seeds = f"{config.max_seeds} seeds a point"
    likely = "" if math.isnan(chance) else f"; {most_seeds} would decide with probability {chance:.2f}"
    return (
        f"no affordable number of trials would do (at most {most_seeds}, {MANY:g} times the items{likely}): the true "
        f"difference may be nil. They are equal within {most:.1f} points: if that does not matter, "
        f"{'either' if len(rivals) == 1 else 'any'} is fine."
    )


def _or_items(factor: float) -> str:
    if not math.isfinite(factor) or factor > MANY:
        return ""
    return f", or about {factor:.1f} times the items with the present seeds"


def _up_to(points: Sequence[Candidate], goal: int, purpose: str) -> tuple[NextTrials, ...]:
    wanted: Mapping[int, int] = {point.number: max(0, goal - len(point.members)) for point in points}
    return next_seeds(points, wanted, purpose)


def _names(points: Sequence[Candidate]) -> str:
    *others, last = [point.label for point in points]
    return f"{', '.join(others)} and {last}" if others else last
