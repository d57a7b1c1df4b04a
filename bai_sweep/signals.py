"""What a running trial and whoever runs it say to each other; this module imports only records.

A trial reports what it measures as soon as it is measured. The monitor's answer is an exception: a study's worker
ends the trial (`TrialPruned`), or its user asks it to stop at this safe point, keeping what it has (`StopRequested`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from bai_sweep.records import EvalReport, StepTelemetry


class TrialPruned(Exception):  # noqa: N818 - Optuna's name for it
    """The trial has shown enough: it ends here, well, with its reason, and is not evaluated further."""


class StopRequested(KeyboardInterrupt):
    """The user wants the study to stop: the trial keeps what it has, ends, and is run on when the study is resumed."""


class Monitor(Protocol):
    """Hears of a trial while it runs."""

    def step(self, telemetry: Sequence[StepTelemetry]) -> None:
        """After a training step, and again for each step that a checkpoint gave back.

        Args:
            telemetry: Of every step so far.

        Raises:
            TrialPruned: The trial is not worth going on with.
            StopRequested: The user wants to stop.
        """

    def screened(self, report: EvalReport) -> None:
        """After the cheap evaluation, before the full one; raises as `step` does."""

    def safe_point(self) -> None:
        """Wherever a trial can stop and go on later without loss.

        Raises:
            StopRequested: The user wants to stop.
        """
