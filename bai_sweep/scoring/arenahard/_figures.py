"""A model's figures over its items, from 0 to 1: what lm-eval aggregates. NaN where nothing counts."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Literal

import numpy as np

from bai_sweep.scoring import Pending, resolved
from bai_sweep.scoring.arenahard._agreement import (
    agreement_rate,
    cohens_kappa,
    first_position,
    wilson_interval,
    winners,
)
from bai_sweep.scoring.arenahard._battles import battles_of, verdicts_of
from bai_sweep.scoring.arenahard._bootstrap import bootstrap_means, bootstrap_ratings
from bai_sweep.scoring.arenahard._bradley_terry import Battles, Floats, ratings, win_rate
from bai_sweep.scoring.arenahard._control import Estimate, controlled_win_rates, standardised, style_difference
from bai_sweep.scoring.arenahard._protocol import V01, V2, Protocol
from bai_sweep.scoring.arenahard._style import Style

Figure = Callable[[Sequence[Pending]], float]
_MODEL, _BASELINE = "model", "baseline"


def bt_win_rate(protocol: Protocol) -> Figure:
    """Win rate by the Bradley-Terry fit. Against one baseline it is the weighted mean."""

    def figure(items: Sequence[Pending]) -> float:
        battles = _battles(_won(items, protocol))
        return win_rate(ratings(battles, _BASELINE)[0]) if len(battles.won) else math.nan

    return figure


def win_rate_limit(protocol: Protocol, side: Literal["low", "high"]) -> Figure:
    """End of the official interval over battles: 95 % of Bradley-Terry ratings in v0.1, 90 % of means in v2."""

    def figure(items: Sequence[Pending]) -> float:
        won = _won(items, protocol)
        if not len(won):
            return math.nan
        quantile = protocol.interval[side == "high"]
        if protocol is V01:
            return win_rate(float(np.quantile(bootstrap_ratings(_battles(won), _BASELINE)[:, 0], quantile)))
        return float(np.quantile(bootstrap_means(won), quantile))

    return figure


def bootstrap_win_rate(items: Sequence[Pending]) -> float:
    """v2's official score without style control: the mean of the bootstrap's means."""
    won = _won(items, V2)
    return float(bootstrap_means(won).mean()) if len(won) else math.nan


def style_controlled(part: Literal["value", "low", "high"], *, centred: bool = True) -> Figure:
    """v2's win rate with style control.

    Args:
        part: The score or an end of its interval.
        centred: True: at the mean difference in style of the battles that are fitted, as official code; these are one
            model's own here. False: at no difference to the baseline.
    """

    def figure(items: Sequence[Pending]) -> float:
        estimate = _controlled(items, centred=centred)
        return float(getattr(estimate, part)) if estimate else math.nan

    return figure


def position_bias(items: Sequence[Pending]) -> float:
    """Share of decided games that the answer shown first won: 0.5 without bias, as pairs are shown in both orders."""
    first, decided = first_position(verdicts_of(items))
    return first / decided if decided else math.nan


def position_bias_limit(side: Literal["low", "high"]) -> Figure:
    """End of Wilson's 95 % interval of `position_bias`, the games taken as independent."""

    def figure(items: Sequence[Pending]) -> float:
        return wilson_interval(*first_position(verdicts_of(items)))[side == "high"]

    return figure


def judge_disagreement(items: Sequence[Pending]) -> float:
    """Share of the questions with both verdicts whose games do not name one winner: a tie and a win disagree."""
    return 1.0 - agreement_rate(*winners(verdicts_of(items)))


def judge_contradiction(items: Sequence[Pending]) -> float:
    """Share of the questions with both verdicts whose games name opposite winners."""
    pairs = list(zip(*winners(verdicts_of(items)), strict=True))
    return sum({_MODEL, _BASELINE} == set(pair) for pair in pairs) / len(pairs) if pairs else math.nan


def judge_kappa(items: Sequence[Pending]) -> float:
    """Cohen's kappa between the winners of game 1 and of game 2."""
    return cohens_kappa(*winners(verdicts_of(items)))


def null_verdicts(items: Sequence[Pending]) -> float:
    """Share of the games without a verdict."""
    games = [verdict for pair in verdicts_of(items) for verdict in pair]
    return sum(verdict is None for verdict in games) / len(games) if games else math.nan


def _won(items: Iterable[Pending], protocol: Protocol) -> Floats:
    return np.array([won for pair in verdicts_of(items) for won in battles_of(pair, protocol)], dtype=np.float64)


def _battles(won: Floats) -> Battles:
    return Battles((_MODEL, _BASELINE), np.zeros(len(won), dtype=np.int64), np.ones(len(won), dtype=np.int64), won)


def _controlled(items: Sequence[Pending], *, centred: bool) -> Estimate | None:
    won, differences = [], []
    for item, verdicts in zip(map(resolved, items), verdicts_of(items), strict=True):
        battles = battles_of(verdicts, V2)
        styles = (Style(**item.detail["style"][whose]) for whose in (_MODEL, _BASELINE))
        won += battles
        differences += [style_difference(*styles)] * len(battles)
    if not won:
        return None
    features = standardised(np.array(differences), centred=centred)
    return controlled_win_rates([_MODEL] * len(won), np.array(won), features)[_MODEL]
