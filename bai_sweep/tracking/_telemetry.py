"""What a trial has measured so far, read from its journal while it is written."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bai_sweep.records import StepTelemetry
from bai_sweep.tracking._journal import JOURNAL, read_events


def read_telemetry(folder: Path) -> tuple[StepTelemetry, ...]:
    """PPO's steps in the journal of a trial's folder, those of its last attempt; none where there is no journal.

    An attempt that goes on from a checkpoint logs the steps before it once more.
    """
    if not (folder / JOURNAL).is_file():
        return ()
    steps: dict[int, dict[str, float]] = {}
    attempt = ""
    for event in read_events(folder):
        if event.kind == "start":
            attempt, steps = event.attempt, {}
        elif event.kind == "metrics" and event.attempt == attempt:
            steps.setdefault(int(event.data["step"]), {}).update(_values(event.data["values"]))
    # Step 0 has the figures of the whole trial; a step of PPO has a reward.
    return tuple(StepTelemetry(step, found) for step, found in sorted(steps.items()) if "objective/scores" in found)


def _values(raw: Mapping[str, Any]) -> dict[str, float]:
    """Numbers; NaN and infinities are kept under their names."""
    return {name: float(value) for name, value in raw.items() if math.isfinite(float(value))}
