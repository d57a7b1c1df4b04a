"""Telemetry to a diagnosis: did the response length collapse, did the reward dip before it rose, did KL blow up?

Each detector is a pure function of a series and its thresholds; a prefix of a run gets the verdict that an
online observer would have given at that step. Definitions: docs/metrics.md; error rates: docs/stability.md.
`learn` makes an early warning of a study's own trials: the probability of a collapse, and the skill it has shown.
"""

from bai_sweep.stability._detectors import (
    METRICS,
    critic_failure,
    entropy_collapse,
    kl_blow_up,
    length_collapse,
    repetition,
    reward_hockey_stick,
    truncation_runaway,
)
from bai_sweep.stability._diagnose import diagnose
from bai_sweep.stability._warning import EarlyWarning, Skill, learn

__all__ = [
    "METRICS",
    "EarlyWarning",
    "Skill",
    "critic_failure",
    "diagnose",
    "entropy_collapse",
    "kl_blow_up",
    "learn",
    "length_collapse",
    "repetition",
    "reward_hockey_stick",
    "truncation_runaway",
]
