"""The MLflow tracker: `MlflowClient` only, so that several threads and processes never share an active run."""

from __future__ import annotations

import getpass
import logging
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, final

from bai_sweep.config import TrackingConfig, TrialConfig
from bai_sweep.records import UserError
from bai_sweep.tracking._delivery import Delivery
from bai_sweep.tracking._masking import mask_text
from bai_sweep.tracking._none import NoTracker
from bai_sweep.tracking._parameters import flatten
from bai_sweep.tracking._protocol import Status, TrialRun
from bai_sweep.tracking._run import JournaledRun, chunks, clip, name_of, recorded, tags_of
from bai_sweep.tracking._sender import Sender
from bai_sweep.tracking._setup import log_setup
from bai_sweep.tracking._store import absolute, artifact_root, ensure_experiment, import_mlflow, open_client

if TYPE_CHECKING:
    from mlflow import MlflowClient

log = logging.getLogger(__name__)
T = TypeVar("T")


@final
class MlflowTracker:
    """Args:
    config: where the store is; relative paths are taken from the working directory now.
    patience: seconds a run's end waits for an MLflow that is away; the same for a study's start and end.
    connect: makes the client; for tests that need an outage.
    """

    def __init__(
        self,
        config: TrackingConfig,
        *,
        patience: float = 20.0,
        connect: Callable[[str], MlflowClient] = open_client,
    ) -> None:
        self._config = absolute(config)
        self._patience = patience
        self._connect = connect
        self._lock = threading.Lock()
        self._opened: MlflowClient | None = None
        import_mlflow(self._config.uri)

    def check(self) -> None:
        """Makes the experiment, and the store before it, if they are not there."""
        self._now("open the experiment", self._experiment)

    def _experiment(self, client: MlflowClient) -> str:
        return ensure_experiment(client, self._config.experiment, artifact_root(self._config))

    def start_study(
        self,
        name: str,
        params: Mapping[str, Any] | None = None,
        tags: Mapping[str, Any] | None = None,
        description: str = "",
    ) -> str | None:
        """Makes the parent run, and before it the store and the experiment if they are not there."""
        labels = tags_of({**(tags or {}), "bai.kind": "study", "mlflow.user": user()})
        if description:
            labels["mlflow.note.content"] = clip(mask_text(description), 5000)

        def create(client: MlflowClient) -> str:
            return str(client.create_run(self._experiment(client), tags=labels, run_name=mask_text(name)).info.run_id)

        run_id = self._now("start the study", create)
        self._now("log the study's parameters", lambda client: log_params(client, run_id, params or {}))
        return run_id

    def reopen(self, run_id: str | None) -> str | None:
        """Sets the study's run to RUNNING; one that was deleted in MLflow is restored."""
        if run_id is None:
            return None

        def resume(client: MlflowClient) -> None:
            if client.get_run(run_id).info.lifecycle_stage == "deleted":
                log.warning("the study's run %s was deleted in MLflow; going on restores it", run_id)
                client.restore_run(run_id)
            client.update_run(run_id, status="RUNNING")

        self._now(f"reopen the study's run {run_id}", resume)
        return run_id

    def finish(self, run_id: str | None, status: Status = "FINISHED") -> bool:
        """Ends the study's run; a failure to do so is a warning."""
        if run_id is None:
            return True
        try:
            self._now("end the study", lambda client: client.set_terminated(run_id, status))
        except UserError as error:
            log.warning("%s; its run %s stays as it is", error, run_id)
            return False
        return True

    @contextmanager
    def trial(
        self,
        number: int,
        name: str,
        parent_run_id: str | None,
        *,
        config: TrialConfig | Mapping[str, Any],
        folder: Path,
        tags: Mapping[str, Any] | None = None,
    ) -> Iterator[TrialRun]:
        """A child run whose journal is carried to MLflow by a thread of its own."""
        attempt = uuid.uuid4().hex
        own = {"bai.kind": "trial", "bai.trial": number, "bai.attempt": attempt, "mlflow.user": user()}
        if parent_run_id:
            own["mlflow.parentRunId"] = parent_run_id
        run = self._run(folder, attempt)
        run.event(
            "start",
            name=mask_text(name),
            number=number,
            tags=tags_of({**(tags or {}), **own}),
            experiment=self._config.experiment,
            artifacts=artifact_root(self._config),
            uri=mask_text(self._config.uri),
        )
        with recorded(run):
            log_setup(run, config)
            yield run

    @contextmanager
    def attach(self, run_id: str | None, folder: Path) -> Iterator[TrialRun]:
        """The study's run; what it still owes from an earlier session in the same folder is sent as well."""
        if run_id is None:
            with NoTracker().attach(None, folder) as plain:
                yield plain
            return
        run = self._run(folder, run_id, start=0)
        run.event("attach", run_id=run_id, uri=mask_text(self._config.uri))
        try:
            yield run
        finally:
            run.close()

    def _run(self, folder: Path, attempt: str, start: int | None = None) -> JournaledRun:
        def connect(offset: int) -> Sender:
            begin = offset if start is None else start
            return Sender(Delivery(self._client, folder, attempt, begin), folder, self._patience)

        return JournaledRun(folder, attempt, connect)

    def _client(self) -> MlflowClient:
        with self._lock:
            self._opened = self._opened or self._connect(self._config.uri)
            return self._opened

    def _now(self, what: str, action: Callable[[MlflowClient], T]) -> T:
        """Does something that the caller has to wait for, with retries for as long as `patience`."""
        deadline, delay = time.monotonic() + self._patience, 0.5
        while True:
            try:
                return action(self._client())
            except UserError:
                raise
            except Exception as error:
                if time.monotonic() + delay > deadline:
                    raise UserError(
                        f"MLflow at {mask_text(self._config.uri)} could not {what}: {mask_text(str(error))}\n"
                        "Start its server, or name another store with tracking.uri=..., or tracking=none."
                    ) from error
            time.sleep(delay)
            delay *= 2


def log_params(client: MlflowClient, run_id: str, params: Mapping[str, Any]) -> None:
    """Logs flattened parameters in as many batches as MLflow's limits need."""
    from mlflow.entities import Param

    flat = flatten(params)
    for part in chunks(flat, 50):
        client.log_batch(run_id, params=[Param(name_of(k), clip(v, 6000)) for k, v in part.items()])


def user() -> str:
    """Who runs this, for MLflow's user column; a container may have no name for its user."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "unknown"
