"""One MLflow sqlite store for all tests of a session (making one takes seconds), an experiment for each test."""

from __future__ import annotations

import atexit
import functools
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bai_sweep.config import TrackingConfig

if TYPE_CHECKING:
    from mlflow import MlflowClient


@functools.cache
def shared_store() -> Path:
    """The store's file."""
    from bai_sweep.tracking._store import import_mlflow, open_client

    folder = Path(tempfile.mkdtemp(prefix="bai-mlflow-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    uri = f"sqlite:///{folder / 'mlflow.db'}"
    import_mlflow(uri)
    open_client(uri)
    return folder / "mlflow.db"


def shared_config(tmp_path: Path) -> TrackingConfig:
    """The shared store with an experiment, and a folder of artifacts, of the test's own."""
    return TrackingConfig(
        kind="mlflow",
        name="mlflow",
        uri=f"sqlite:///{shared_store()}",
        artifacts=str(tmp_path / "mlartifacts"),
        experiment=str(tmp_path),
    )


def client() -> MlflowClient:
    """A plain client of the shared store, to look at what arrived."""
    from mlflow import MlflowClient

    return MlflowClient(f"sqlite:///{shared_store()}")


def children(parent: str) -> list[Any]:
    """The active child runs of a study."""
    experiment = client().get_run(parent).info.experiment_id
    return list(client().search_runs([experiment], f"tags.mlflow.parentRunId = '{parent}'"))


def history(run_id: str, metric: str) -> list[tuple[int, float]]:
    """(step, value) of a metric as MLflow has it, every stored point."""
    return [(point.step, point.value) for point in client().get_metric_history(run_id, metric)]


def children_of(uri: str, parent: str) -> tuple[str, dict[str, str]]:
    """The experiment of a study's run in any store, and the ids of its trials' runs by name."""
    from mlflow import MlflowClient

    other = MlflowClient(uri)
    experiment = str(other.get_run(parent).info.experiment_id)
    runs = other.search_runs([experiment], f"tags.mlflow.parentRunId = '{parent}'")
    return experiment, {str(run.info.run_name): str(run.info.run_id) for run in runs}
