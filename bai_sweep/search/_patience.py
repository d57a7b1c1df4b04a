"""A storage that waits: a database that is locked, restarted or away for a while costs time, not trials."""

from __future__ import annotations

import functools
import logging
import time
from collections.abc import Callable
from typing import Any

from optuna.exceptions import StorageInternalError
from optuna.storages import BaseStorage
from sqlalchemy.exc import DBAPIError

_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 5.0  # seconds
_MAY_PASS = (OSError, DBAPIError, StorageInternalError)  # the last is what Optuna makes of a commit that failed

_log = logging.getLogger(__name__)


def patient(storage: BaseStorage, seconds: float) -> BaseStorage:
    """`storage` with each operation tried again, for at most so many seconds, while its fault may pass.

    An operation that was done although its answer got lost is done twice. Of those that are not the same twice, a
    second new trial is a duplicate, which the queue drops, and a claim whose answer got lost is a running trial
    without an owner, which the queue takes back when its lease has run out.
    """
    waiting: BaseStorage = _Patient(storage, seconds)
    return waiting


def _tried(name: str) -> Callable[..., Any]:
    @functools.wraps(getattr(BaseStorage, name), updated=())  # else it stays abstract
    def operation(self: Any, *args: Any, **kwargs: Any) -> Any:
        return _again(functools.partial(getattr(self.storage, name), *args, **kwargs), self.seconds, name)

    return operation


def _again(operation: Callable[[], Any], seconds: float, name: str) -> Any:
    deadline, pause = time.monotonic() + seconds, _FIRST_PAUSE
    while True:
        try:
            return operation()
        except Exception as error:
            if not isinstance(error, _MAY_PASS) or time.monotonic() + pause > deadline:
                raise
            if pause == _FIRST_PAUSE:
                _log.warning("the study's storage does not answer (%s: %s); waiting", name, _short(error))
        time.sleep(pause)
        pause = min(2 * pause, _LONGEST_PAUSE)


def _short(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".partition("\n")[0][:200]


def _init(self: Any, storage: BaseStorage, seconds: float) -> None:
    self.storage, self.seconds = storage, seconds


# Every operation of a storage, those with a default too: the default of one asks others, each with a wait of its own.
_OPERATIONS = [name for name, value in vars(BaseStorage).items() if callable(value) and not name.startswith("_")]
_Patient: Any = type(
    "PatientStorage", (BaseStorage,), {"__init__": _init, **{name: _tried(name) for name in _OPERATIONS}}
)
