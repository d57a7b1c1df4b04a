"""Sends what did not reach MLflow: `python -m bai_sweep.tracking sync <folder>`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bai_sweep.records import UserError
from bai_sweep.tracking._delivery import Delivery
from bai_sweep.tracking._journal import JOURNAL, Event, left_alone, read_events
from bai_sweep.tracking._masking import MASK
from bai_sweep.tracking._store import import_mlflow, open_client

if TYPE_CHECKING:
    from mlflow import MlflowClient


@dataclass(frozen=True)
class Synced:
    """What `sync` did with one journal; `skipped` says why it did nothing."""

    folder: Path
    sent: int = 0
    refused: int = 0
    run_id: str | None = None
    skipped: str = ""


def sync(folder: Path, uri: str | None = None, connect: Callable[[str], MlflowClient] = open_client) -> list[Synced]:
    """Sends the unsent rest of every journal below `folder`; calling it again sends nothing twice.

    Args:
        folder: a trial's, a study's or the whole results folder.
        uri: the store; needed where the journal's has a masked password.
        connect: makes the client.

    Raises:
        UserError: no journal below `folder`, or the store's password is needed.
    """
    folders = sorted(path.parent for path in folder.rglob(JOURNAL))
    if not folders:
        raise UserError(f"no {JOURNAL} in or below {str(folder)!r}; name a trial's or a study's folder")
    clients: dict[str, MlflowClient] = {}

    def client_of(store: str) -> MlflowClient:
        if store not in clients:
            import_mlflow(store)
            clients[store] = connect(store)
        return clients[store]

    return [_sync_one(each, uri, client_of) for each in folders]


def _sync_one(folder: Path, uri: str | None, client_of: Callable[[str], MlflowClient]) -> Synced:
    first = _beginning(folder)
    if first is None:
        return Synced(folder, skipped="tracking was off")
    delivery = Delivery(lambda: client_of(store), folder, first.attempt, first.end)
    store = uri or first.data["uri"]
    if not (waiting := delivery.pending()):
        return Synced(folder, run_id=delivery.done.run_id, skipped="all of it was sent before")
    if f"{MASK}@" in store or f"={MASK}" in store:
        raise UserError(f"the journal does not keep passwords; name the store with --uri (it was {store})")
    with left_alone(folder) as alone:
        if not alone:
            return Synced(folder, run_id=delivery.done.run_id, skipped="its run is going on and sends it itself")
        delivery.pump()
    return Synced(folder, waiting, delivery.refused, delivery.done.run_id)


def _beginning(folder: Path) -> Event | None:
    """The first event of the attempt that counts, its `end` being the offset from which to send."""
    found, before = None, 0
    for event in read_events(folder):
        tracked = event.kind in ("start", "attach") and "uri" in event.data
        if tracked and (found is None or found.attempt != event.attempt):
            found = Event(event.attempt, event.kind, event.time, event.data, before)
        before = event.end
    return found
