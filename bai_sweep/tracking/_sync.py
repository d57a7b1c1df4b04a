"""Sends what did not reach MLflow: `python -m bai_sweep.tracking sync <folder>`."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bai_sweep.records import UserError
from bai_sweep.tracking._delivery import Delivery
from bai_sweep.tracking._journal import JOURNAL, Acknowledged, Event, Journal, left_alone, read_events
from bai_sweep.tracking._masking import MASK
from bai_sweep.tracking._store import import_mlflow, open_client

if TYPE_CHECKING:
    from mlflow import MlflowClient


log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Synced:
    """What `sync` did with one journal; `skipped` says why it did nothing, `locked` that a password is missing."""

    folder: Path
    sent: int = 0
    refused: int = 0
    run_id: str | None = None
    skipped: str = ""
    locked: bool = False


def sync(folder: Path, uri: str | None = None, connect: Callable[[str], MlflowClient] = open_client) -> list[Synced]:
    """Sends the unsent rest of every journal below `folder`; calling it again sends nothing twice.

    Args:
        folder: a trial's, a study's or the whole results folder.
        uri: the store; needed where the journal's has a masked password.
        connect: makes the client.

    Raises:
        UserError: no journal below `folder`.
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


def unsent(folder: Path) -> list[Path]:
    """The folders at or below `folder` whose journal MLflow does not have whole."""
    return [each for each in sorted(path.parent for path in folder.rglob(JOURNAL)) if _is_unsent(each)]


def _is_unsent(folder: Path) -> bool:
    if _beginning(folder) is None:
        return False
    mark = Acknowledged.load(folder)
    return mark is None or mark.offset < (folder / JOURNAL).stat().st_size


def settle(folder: Path, uri: str) -> None:
    """Ends the run of a trial whose process died after its result was kept, and sends what MLflow lacks of it.

    Trouble is a warning: the result stands, and `sync` can be called at any time.
    """
    first = _beginning(folder) if (folder / JOURNAL).is_file() else None
    if first is None:
        return
    if not any(event.kind == "end" for event in read_events(folder) if event.attempt == first.attempt):
        journal = Journal(folder, first.attempt)
        journal.append("end", status="FINISHED")
        journal.close()
    try:
        sync(folder, uri)
    except Exception:
        log.warning(
            "%s: its run was not brought to MLflow; `python -m bai_sweep.tracking sync` does", folder, exc_info=True
        )


def _sync_one(folder: Path, uri: str | None, client_of: Callable[[str], MlflowClient]) -> Synced:
    first = _beginning(folder)
    if first is None:
        return Synced(folder, skipped="tracking was off")
    delivery = Delivery(lambda: client_of(store), folder, first.attempt, first.end)
    store = uri or first.data["uri"]
    if not (waiting := delivery.pending()):
        return Synced(folder, run_id=delivery.done.run_id, skipped="all of it was sent before")
    if f"{MASK}@" in store or f"={MASK}" in store:
        why = f"the journal does not keep passwords; name the store with --uri (it was {store})"
        return Synced(folder, skipped=why, locked=True)
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
