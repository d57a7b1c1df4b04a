"""Where a study's trials are kept: Optuna's journal in the study's folder, or a database by URL."""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass
from pathlib import Path

import optuna
from optuna.storages import BaseStorage, JournalStorage, RDBStorage, get_storage
from optuna.storages.journal import JournalFileBackend, JournalFileSymlinkLock

from bai_sweep.records import UserError

JOURNAL = "study.log"

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class StorageAddress:
    """`url` of a database, or None for the journal in `folder`; a worker in another process opens it anew."""

    folder: Path
    url: str | None

    def open(self) -> BaseStorage:
        """Connects; a journal is created if there is none.

        Raises:
            UserError: the journal cannot be read or written.
        """
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        if self.url is not None:
            return open_database(self.url)
        return _open_journal((self.folder / JOURNAL).absolute())


def open_database(url: str) -> BaseStorage:
    """Any database SQLAlchemy reaches; sqlite waits for a lock as long as it takes other workers to write."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    options = {"connect_args": {"timeout": 60}} if url.startswith("sqlite") else {"pool_pre_ping": True}
    return get_storage(RDBStorage(url, engine_kwargs=options))


def _open_journal(path: Path) -> JournalStorage:
    # A lock that works on NFS too; one whose holder was killed is broken after 30 s. It is a link to the journal, and
    # Optuna waits without end for one that leads nowhere: hence the absolute path.
    lock = JournalFileSymlinkLock(str(path))
    try:
        if path.exists() and _whole(path) < path.stat().st_size:
            _cut(path, lock)
        return JournalStorage(JournalFileBackend(str(path), lock))
    except OSError as error:
        raise UserError(f"cannot open {path}: {error.strerror}; make room for it and make it writable") from error
    except ValueError as error:  # Optuna's for a line that is not JSON
        raise UserError(
            f"{path} is damaged and cannot be read ({error}); put a copy in its place, or start a new study without "
            "resume=true"
        ) from error


def _cut(path: Path, lock: JournalFileSymlinkLock) -> None:
    """Drops the line that a killed process or a full disk has left unfinished; the next one would be glued to it."""
    lock.acquire()
    try:
        size, whole = path.stat().st_size, _whole(path)  # again, as nobody writes now
        if whole < size:
            with path.open("r+b") as file:
                file.truncate(whole)
            _log.warning("%s: its last line was not whole, %d bytes were cut off", path, size - whole)
    finally:
        lock.release()


def _whole(path: Path) -> int:
    """Bytes of a journal up to the end of its last line, or of the one before where the last is not whole."""
    data = path.read_bytes()
    begin = data.rfind(b"\n", 0, len(data) - 1) + 1  # of the last line
    try:
        json.loads(data[begin:] or b"{}")
    except ValueError:
        return begin
    return len(data) if data.endswith(b"\n") or not data else begin
