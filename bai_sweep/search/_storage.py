"""Where a study's trials are kept: Optuna's journal in the study's folder, or a database by URL."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import optuna
from optuna.storages import BaseStorage, JournalStorage, RDBStorage, get_storage
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError

from bai_sweep.records import UserError
from bai_sweep.search._journal import Journal
from bai_sweep.search._patience import patient

JOURNAL = "study.log"
_EXTRAS = ("postgresql", "mysql")  # dialects whose driver is an extra of ours
_DEFAULT_DRIVERS = {"postgresql": ("psycopg2", "psycopg"), "mysql": ("MySQLdb", "pymysql")}


@dataclass(frozen=True)
class StorageAddress:
    """`url` of a database, or None for the journal in `folder`; a worker in another process opens it anew.

    Args:
        folder: the study's.
        url: of a database.
        patience: seconds that an open storage may be locked or away.
    """

    folder: Path
    url: str | None
    patience: float = 0.0

    def open(self) -> BaseStorage:
        """Connects; a journal is created if there is none.

        Raises:
            UserError: the storage cannot be read or written now.
        """
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        storage = _open_journal((self.folder / JOURNAL).absolute()) if self.url is None else open_database(self.url)
        return patient(storage, self.patience)


def open_database(url: str) -> BaseStorage:
    """Any database SQLAlchemy reaches; sqlite waits for a lock as long as it takes other workers to write.

    Raises:
        UserError: it cannot be reached, or its driver is not installed; without the password.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    options = {"connect_args": {"timeout": 60}} if url.startswith("sqlite") else {"pool_pre_ping": True}
    try:
        return get_storage(RDBStorage(_with_driver(url), engine_kwargs=options))
    except (ImportError, NoSuchModuleError) as error:
        dialect = url.partition(":")[0].partition("+")[0]
        fix = f'pip install "bai-sweep[{dialect}]"' if dialect in _EXTRAS else "install its driver"
        raise UserError(f"the storage {shown(url)} needs a driver that is not installed ({error}); {fix}") from error
    except (DBAPIError, ArgumentError, OSError) as error:
        why = str(getattr(error, "orig", None) or error).strip().partition("\n")[0]
        raise UserError(
            f"the storage {shown(url)} cannot be reached: {why}; start it, or correct hydra.sweeper.storage"
        ) from error


def _with_driver(url: str) -> str:
    """SQLAlchemy's default drivers of PostgreSQL and MySQL are not those that our extras install."""
    dialect, sign, rest = url.partition("://")
    default, ours = _DEFAULT_DRIVERS.get(dialect, ("", ""))
    return f"{dialect}+{ours}{sign}{rest}" if default and find_spec(default) is None else url


def shown(url: str) -> str:
    """A database's URL without its password."""
    try:
        return make_url(url).render_as_string(hide_password=True)
    except ArgumentError:
        return "whose URL cannot be parsed"


def _open_journal(path: Path) -> BaseStorage:
    try:
        return JournalStorage(Journal(path))
    except OSError as error:
        raise UserError(f"cannot open {path}: {error.strerror}; make room for it and make it writable") from error
    except ValueError as error:  # Optuna's for a line that is not JSON
        raise UserError(
            f"{path} is damaged and cannot be read ({error}); put a copy in its place, or start a new study without "
            "resume=true"
        ) from error
