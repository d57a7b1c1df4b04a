"""Which of several points that are as good as the leader is taken: the more stable one."""

from __future__ import annotations

import math
from collections.abc import Sequence

from bai_sweep.config import SelectionConfig
from bai_sweep.records import Diagnosis, Level
from bai_sweep.selection._candidates import Candidate
from bai_sweep.selection._draws import TIE
from bai_sweep.selection._measure import Measured

_LEVELS: tuple[Level, ...] = ("none", "suspected", "certain")


def order(chosen: Sequence[Candidate], measured: Measured, config: SelectionConfig) -> list[int]:
    """Indices of the candidates, the one to recommend first, then those as good as it, then the rest by objective.

    As good as the leader, the one with the highest objective, is who is at most `tie_points` behind it and better than
    it with a probability of at least `tie_probability`.
    """
    values = measured.values
    slots = range(len(chosen))

    def by_score(slot: int) -> tuple[float, int]:
        return -round(values[slot] / TIE) * TIE, chosen[slot].number

    leader = min(slots, key=by_score)
    tied = [slot for slot in slots if _is_tied(slot, leader, measured, config)]

    def by_stability(slot: int) -> tuple[object, ...]:
        score, number = by_score(slot)
        return *_instability(chosen[slot].result.diagnosis), score, _kl(chosen[slot]), number

    return sorted(tied, key=by_stability) + sorted((s for s in slots if s not in tied), key=by_score)


def _is_tied(slot: int, leader: int, measured: Measured, config: SelectionConfig) -> bool:
    gap = measured.values[leader] - measured.values[slot]
    if gap <= TIE:
        return True
    return bool(gap <= config.tie_points) and measured.chance_ahead(slot, leader) >= config.tie_probability


def _instability(diagnosis: Diagnosis) -> tuple[int, int, int]:
    """The smaller, the more stable: the worst verdict, how many there are of it, final KL in steps of sqrt(2)."""
    worst = diagnosis.worst
    count = len({v.detector for v in diagnosis.verdicts if v.level == worst}) if worst != "none" else 0
    kl = diagnosis.final_kl
    step = 0 if math.isnan(kl) or kl <= 0.1 else round(2 * math.log2(kl / 0.1))
    return _LEVELS.index(worst), count, step


def _kl(candidate: Candidate) -> float:
    kl = candidate.result.diagnosis.final_kl
    return math.inf if math.isnan(kl) and candidate.is_trained else 0.0 if math.isnan(kl) else kl


def less_stable(loser: Candidate, winner: Candidate) -> str:
    """What makes the loser of a tie the less stable one; empty where nothing does."""
    one, other = loser.result.diagnosis, winner.result.diagnosis
    if _instability(one)[:2] > _instability(other)[:2]:
        return one.summary().replace("_", " ")
    if _instability(one) > _instability(other) or (_kl(loser) > _kl(winner) and math.isfinite(_kl(loser))):
        return f"final KL {one.final_kl:.3g} nats against {0.0 if math.isnan(other.final_kl) else other.final_kl:.3g}"
    return ""
