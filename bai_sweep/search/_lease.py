"""Who holds a trial, and whether that worker still lives.

Optuna's heartbeat serves `optimize` only, so a worker renews a lease of its own: the wall time of its last beat,
kept with the trial. A watcher does not compare that time with its own clock (clocks differ, and step); it looks
whether the value has changed since it first saw it, on its own monotonic clock. Where the owner ran on this very
machine, its death can be proven at once.
"""

from __future__ import annotations

import logging
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any

import psutil
from optuna.exceptions import UpdateFinishedTrialError
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial

LEASE = "lease"
OWNER = "owner"
_TICK = 2.0  # seconds

_log = logging.getLogger(__name__)


def machine() -> str:
    """Names this boot of this machine and, in containers, this namespace of process ids."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        namespace = str(Path("/proc/self/ns/pid").readlink())
    except OSError:
        return f"{socket.gethostname()}/{psutil.boot_time():.0f}"
    return f"{socket.gethostname()}/{boot}/{namespace}"


def this_owner() -> dict[str, Any]:
    """This process, so that another can tell whether it still runs."""
    process = psutil.Process()
    return {"machine": machine(), "pid": process.pid, "started": process.create_time()}


def is_proven_dead(owner: dict[str, Any]) -> bool:
    """True if the owner ran on this machine and its process is gone; False also where it cannot be known."""
    if owner["machine"] != machine():
        return False
    try:
        process = psutil.Process(owner["pid"])
        # A process started at another time only has the number of the dead one.
        return process.status() == psutil.STATUS_ZOMBIE or abs(process.create_time() - owner["started"]) > 1
    except psutil.NoSuchProcess:
        return True


class Lease:
    """Holds a trial while the body runs: writes the owner, then beats from a thread of its own.

    Args:
        storage: the study's.
        trial_id: Optuna's.
        seconds: after which others take this worker for dead; it beats three times as often.
        on_tick: called every other second, from the thread.
    """

    def __init__(
        self, storage: BaseStorage, trial_id: int, seconds: float, on_tick: Callable[[], object] = lambda: None
    ) -> None:
        self._storage = storage
        self._trial_id = trial_id
        self._interval = seconds / 3
        self._on_tick = on_tick
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="lease", daemon=True)

    def __enter__(self) -> Lease:
        self._storage.set_trial_user_attr(self._trial_id, OWNER, this_owner())
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join()

    def _beat(self) -> None:
        due = time.monotonic()
        while True:
            try:
                if time.monotonic() >= due:
                    self._storage.set_trial_user_attr(self._trial_id, LEASE, time.time())
                    due = time.monotonic() + self._interval
                self._on_tick()
            except UpdateFinishedTrialError:
                _log.warning("others took this worker for dead; what its trial gives will be dropped")
                return
            except Exception:  # noqa: BLE001 - a storage that is away comes back
                _log.exception("the lease could not be renewed; trying again")
            if self._ended.wait(min(_TICK, self._interval)):
                return


class Watch:
    """Finds running trials whose worker has died."""

    def __init__(self, lease_seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._lease_seconds = lease_seconds
        self._clock = clock
        self._seen: dict[int, tuple[object, float]] = {}

    def verdict(self, trial: FrozenTrial) -> str | None:
        """Why the worker of a running trial counts as dead; None while it does not."""
        owner = trial.user_attrs.get(OWNER)
        if owner is not None and is_proven_dead(owner):
            return f"its worker, process {owner['pid']}, is gone"
        beat, now = trial.user_attrs.get(LEASE), self._clock()
        known, since = self._seen.get(trial.number, (None, now))
        if known != beat:
            since = now
        self._seen[trial.number] = (beat, since)
        if now - since > self._lease_seconds:
            return f"its worker has been silent for {now - since:.0f} s"
        return None
