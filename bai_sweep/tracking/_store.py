"""Opens the MLflow store a configuration names. The only file of the package that starts MLflow up."""

from __future__ import annotations

import fcntl
import logging
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from bai_sweep.config import TrackingConfig
from bai_sweep.records import UserError

if TYPE_CHECKING:
    from mlflow import MlflowClient

_SQLITE = "sqlite:///"
_FILE = "file:"
# The interface has pages for training and pages for prompts and traces; without this it shows the latter.
KIND = {"mlflow.experimentKind": "custom_model_development"}


def absolute(config: TrackingConfig) -> TrackingConfig:
    """The same store by absolute paths, so that a worker in another working directory reports to it too."""
    uri, artifacts = config.uri, config.artifacts
    if uri.startswith(_SQLITE) and (path := uri.removeprefix(_SQLITE)) not in ("", ":memory:"):
        uri = _SQLITE + str(Path(path).expanduser().absolute())
    if artifacts and "://" not in artifacts and not artifacts.startswith(_FILE):
        artifacts = str(Path(artifacts).expanduser().absolute())
    return config.model_copy(update={"uri": uri, "artifacts": artifacts})


def is_server(uri: str) -> bool:
    """Whether a tracking URI is an MLflow server (which keeps the artifacts its own way) and not a database."""
    return uri.startswith(("http://", "https://"))


def artifact_root(config: TrackingConfig) -> str | None:
    """Where a new experiment keeps its artifacts, as a URI; None leaves it to the server."""
    if not config.artifacts or is_server(config.uri):
        return None
    is_uri = "://" in config.artifacts or config.artifacts.startswith(_FILE)
    return config.artifacts if is_uri else Path(config.artifacts).absolute().as_uri()


def import_mlflow(uri: str) -> None:
    """Imports MLflow (seconds) on the calling thread, quiet but for warnings, and with our own retries in mind.

    Raises:
        UserError: `uri` is a folder; MLflow's file store is deprecated and raises since 3.13.
    """
    if not is_server(uri) and "://" not in uri:
        raise UserError(f"tracking.uri is a database or a server, such as sqlite:///mlflow.db; got {uri!r}")
    if uri.startswith(_SQLITE) and not (folder := Path(uri.removeprefix(_SQLITE)).parent).is_dir():
        raise UserError(f"tracking.uri: there is no folder {str(folder)!r} for the database; make it or name another")
    # What a user has set himself stays.
    os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")
    os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # training jobs call nobody but the tracking server
    # An outage is ours to sit out: MLflow's defaults (7 retries of 120 s) would hold a trial's end for minutes.
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "20")
    import mlflow

    if not is_server(uri):
        import mlflow.store.tracking.sqlalchemy_store  # noqa: F401 - here, not later on the sender's thread
    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(os.environ["MLFLOW_LOGGING_LEVEL"].upper())


def open_client(uri: str) -> MlflowClient:
    """A client of the store; makes a sqlite store (seconds) that is not there yet, one process at a time."""
    from mlflow import MlflowClient

    if not uri.startswith(_SQLITE):
        return MlflowClient(tracking_uri=uri)
    with _alone(Path(uri.removeprefix(_SQLITE))), warnings.catch_warnings():
        # MLflow's own migrations say it of each table of a new store.
        warnings.filterwarnings("ignore", "Unnamed CHECK constraint on reflected table", UserWarning)
        client = MlflowClient(tracking_uri=uri)
        client.search_experiments(max_results=1)  # makes the tables, if the client has not
        return client


@contextmanager
def _alone(database: Path) -> Iterator[None]:
    """Holds a lock beside a database file: two processes that make its tables at once would both fail."""
    with database.with_name(database.name + ".lock").open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def ensure_experiment(client: MlflowClient, name: str, root: str | None) -> str:
    """The id of the experiment, made if need be; several processes may ask at once.

    Raises:
        UserError: the experiment was deleted in MLflow.
    """
    from mlflow.exceptions import MlflowException

    experiment = client.get_experiment_by_name(name)
    if experiment is None:
        try:
            return str(client.create_experiment(name, artifact_location=root, tags=KIND))
        except MlflowException:
            experiment = client.get_experiment_by_name(name)  # another process was first
            if experiment is None:
                raise
    if experiment.lifecycle_stage == "deleted":
        raise UserError(
            f"MLflow's experiment {name!r} was deleted; restore it with `mlflow experiments restore "
            f"--experiment-id {experiment.experiment_id}` or name another with tracking.experiment=..."
        )
    return str(experiment.experiment_id)
