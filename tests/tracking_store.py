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


def children(parent: str, uri: str | None = None) -> list[Any]:
    """The active child runs of a study, in the shared store or another."""
    from mlflow import MlflowClient

    store = MlflowClient(uri) if uri else client()
    experiment = store.get_run(parent).info.experiment_id
    return list(store.search_runs([experiment], f"tags.mlflow.parentRunId = '{parent}'"))


def history(run_id: str, metric: str) -> list[tuple[int, float]]:
    """(step, value) of a metric as MLflow has it, every stored point."""
    return [(point.step, point.value) for point in client().get_metric_history(run_id, metric)]
