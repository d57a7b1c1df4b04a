"""Sends one attempt's journal to MLflow, in order, at least once, and so that twice is the same as once.

What makes a repeated send harmless: a run carries its attempt as a tag and is looked up before it is made; a
metric's timestamp comes from the journal, and MLflow's key of a metric is (run, name, step, timestamp, value);
parameters, tags, artifacts and the end are equal when set again.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any, final

from bai_sweep.records import UserError
from bai_sweep.tracking._journal import Acknowledged, Event, read_events
from bai_sweep.tracking._masking import mask_text
from bai_sweep.tracking._store import ensure_experiment
from bai_sweep.tracking._view import VIEW_TAG

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Metric, Param, RunTag

log = logging.getLogger(__name__)

BATCHED = ("params", "metrics", "tags")
# MLflow takes 1000 entities, 100 params, 100 tags and a megabyte in one batch; a journal line never holds more
# than LINE of one kind, so a batch of whole lines always fits.
LIMITS = {"params": 100, "tags": 100, "metrics": 800}
LINE = {"params": 50, "tags": 50, "metrics": 400}
MAX_BYTES = 800_000
_REFUSALS = {"INVALID_PARAMETER_VALUE", "RESOURCE_DOES_NOT_EXIST", "RESOURCE_ALREADY_EXISTS", "INVALID_STATE"}


@final
class Delivery:
    """Delivers `folder`'s journal from where MLflow has it; every exception of `pump` means "try again later"."""

    def __init__(self, connect: Callable[[], MlflowClient], folder: Path, attempt: str, start: int) -> None:
        mark = Acknowledged.load(folder)
        self.done = mark if mark and mark.attempt == attempt else Acknowledged(attempt, start)
        self.refused = 0
        self._connect, self._folder = connect, folder
        self._client: MlflowClient | None = None

    def pending(self) -> int:
        """The number of events MLflow does not have yet."""
        return sum(1 for _ in self._events())

    def pump(self) -> None:
        """Sends everything there is and marks it; what MLflow refuses for good is skipped with a warning."""
        client = self._client = self._client or self._connect()
        for batch in batches(self._events()):
            try:
                self._send(client, batch)
            except Exception as error:
                # Without its start a run has nowhere to go: that is tried again, and again by a later `sync`.
                if not refusal(error) or batch[0].kind in ("start", "attach"):
                    raise
                self._one_by_one(client, batch)
            self._acknowledge(batch[-1])

    def _events(self) -> Iterator[Event]:
        events = read_events(self._folder, self.done.offset)
        return (event for event in events if event.attempt == self.done.attempt)

    def _acknowledge(self, last: Event) -> None:
        self.done = Acknowledged(self.done.attempt, last.end, self.done.run_id)
        self.done.save(self._folder)

    def _one_by_one(self, client: MlflowClient, batch: list[Event]) -> None:
        """Only the culprit of a refused batch is left out."""
        for event in batch:
            try:
                self._send(client, [event])
            except Exception as error:
                if not refusal(error):
                    raise
                self.refused += 1
                level = logging.WARNING if self.refused == 1 else logging.DEBUG  # a deleted run refuses everything
                log.log(level, "MLflow refuses %s of %s: %s", event.kind, self._folder, mask_text(str(error)))

    def _send(self, client: MlflowClient, batch: list[Event]) -> None:
        first = batch[0]
        if first.kind == "start":
            self.done = Acknowledged(self.done.attempt, self.done.offset, find_or_create(client, first))
            return
        if first.kind == "attach":
            self.done = Acknowledged(self.done.attempt, self.done.offset, first.data["run_id"])
            return
        run_id = self.done.run_id
        if run_id is None:
            raise RuntimeError(f"{self._folder}: the journal has a {first.kind} before its start")
        if first.kind in BATCHED:
            metrics, params, tags = entities(batch)
            client.log_batch(run_id, metrics, params, tags)
        elif first.kind == "artifact":
            path = self._folder / first.data["path"]  # an absolute path stays as it is
            client.log_artifact(run_id, str(path), first.data["folder"] or None)
        elif first.kind == "view":
            experiment = client.get_run(run_id).info.experiment_id
            client.set_experiment_tag(experiment, VIEW_TAG + run_id, first.data["value"])
        elif first.kind == "end":
            client.set_terminated(run_id, first.data["status"], first.time)
            if first.data["status"] == "FINISHED":
                retire_others(client, run_id)


def refusal(error: Exception) -> bool:
    """Whether sending the same again cannot succeed: MLflow found the request itself at fault, or a file is gone."""
    if isinstance(error, FileNotFoundError | UserError):
        return True
    return getattr(error, "error_code", None) in _REFUSALS


def batches(events: Iterator[Event]) -> Iterator[list[Event]]:
    """Groups neighbouring params, metrics and tags within MLflow's limits; every other event stands alone."""
    for is_batched, group in groupby(events, key=lambda event: event.kind in BATCHED):
        if not is_batched:
            yield from ([event] for event in group)
            continue
        batch: list[Event] = []
        room, size = dict(LIMITS), MAX_BYTES
        for event in group:
            need, weight = len(event.data["values"]), len(str(event.data))
            if batch and (room[event.kind] < need or size < weight):
                yield batch
                batch, room, size = [], dict(LIMITS), MAX_BYTES
            batch.append(event)
            room[event.kind] -= need
            size -= weight
        if batch:
            yield batch


def entities(batch: list[Event]) -> tuple[list[Metric], list[Param], list[RunTag]]:
    """The arguments of `log_batch`; of two values for one parameter the first counts, for one tag the last."""
    from mlflow.entities import Metric, Param, RunTag

    params: dict[str, str] = {}
    tags: dict[str, str] = {}
    metrics = []
    for event in batch:
        values = event.data["values"]
        if event.kind == "params":
            params = {**values, **params}
        elif event.kind == "tags":
            tags |= values
        else:
            step = event.data["step"]
            metrics += [Metric(name, float(value), event.time, step) for name, value in values.items()]
    return metrics, [Param(*item) for item in params.items()], [RunTag(*item) for item in tags.items()]


def find_or_create(client: MlflowClient, start: Event) -> str:
    """The run of this attempt; unfinished earlier attempts at the same trial are soft-deleted on the way."""
    data = start.data
    experiment = ensure_experiment(client, data["experiment"], data["artifacts"])
    run_id = None
    for run in attempts(client, experiment, data["tags"]):
        if run.data.tags.get("bai.attempt") == start.attempt:
            run_id = run.info.run_id
        elif run.info.status != "FINISHED":
            client.delete_run(run.info.run_id)
    if run_id is None:
        run_id = client.create_run(experiment, start.time, data["tags"], data["name"]).info.run_id
    return str(run_id)


def retire_others(client: MlflowClient, run_id: str) -> None:
    """Soft-deletes every other attempt at a trial that has just finished."""
    run = client.get_run(run_id)
    if "mlflow.parentRunId" not in run.data.tags:
        return
    for other in attempts(client, run.info.experiment_id, run.data.tags):
        if other.info.run_id != run_id:
            client.delete_run(other.info.run_id)


def attempts(client: MlflowClient, experiment: str, tags: dict[str, str]) -> list[Any]:
    """The active runs of the same trial of the same study; of a trial without a study, this attempt alone."""
    if parent := tags.get("mlflow.parentRunId"):
        query = f"tags.mlflow.parentRunId = '{parent}' and tags.`bai.trial` = '{tags['bai.trial']}'"
    else:
        query = f"tags.`bai.attempt` = '{tags['bai.attempt']}'"
    return list(client.search_runs([experiment], query))
