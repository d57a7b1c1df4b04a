"""Where a study's trials are kept: Optuna's journal in the study's folder, or a database by URL."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import optuna
from optuna.storages import BaseStorage, JournalStorage, RDBStorage, get_storage
from optuna.storages.journal import JournalFileBackend

JOURNAL = "study.log"


@dataclass(frozen=True)
class StorageAddress:
    """`url` of a database, or None for the journal in `folder`; a worker in another process opens it anew."""

    folder: Path
    url: str | None

    def open(self) -> BaseStorage:
        """Connects; a journal is created if there is none."""
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        if self.url is not None:
            return open_database(self.url)
        # The journal's symlink lock works on NFS too; a lock whose holder was killed is broken after 30 s.
        return JournalStorage(JournalFileBackend(str(self.folder / JOURNAL)))


def open_database(url: str) -> BaseStorage:
    """Any database SQLAlchemy reaches; sqlite waits for a lock as long as it takes other workers to write."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    options = {"connect_args": {"timeout": 60}} if url.startswith("sqlite") else {"pool_pre_ping": True}
    return get_storage(RDBStorage(url, engine_kwargs=options))
