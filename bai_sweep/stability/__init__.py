"""Telemetry to a diagnosis: did the response length collapse, did the reward dip before it rose, did KL blow up?

Each detector is a pure function of a series and its thresholds; a prefix of a run gets the verdict that an
online observer would have given at that step. Definitions: docs/metrics.md.
"""

from bai_sweep.stability._detectors import kl_blow_up, length_collapse, reward_hockey_stick
from bai_sweep.stability._diagnose import diagnose

__all__ = ["diagnose", "kl_blow_up", "length_collapse", "reward_hockey_stick"]
