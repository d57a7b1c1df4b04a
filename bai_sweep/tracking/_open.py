"""From a configuration to its tracker."""

from __future__ import annotations

from bai_sweep.config import TrackingConfig
from bai_sweep.tracking._none import NoTracker
from bai_sweep.tracking._protocol import Tracker


def open_tracker(config: TrackingConfig) -> Tracker:
    """The tracker that `config` names; MLflow is imported only here, and its store opened at first use.

    Raises:
        UserError: `tracking.uri` is not one MLflow still supports.
    """
    if config.kind == "none":
        return NoTracker()
    from bai_sweep.tracking._mlflow import MlflowTracker

    return MlflowTracker(config)
