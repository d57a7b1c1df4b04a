"""The local journal: one JSON line per event, appended and flushed; and the mark of what MLflow has acknowledged.

A trial's folder may see several attempts at the trial; each line names its attempt, and the last attempt that
started is the one that counts.
"""

from __future__ import annotations

import fcntl
import json
import logging
import math
import os
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO, final

log = logging.getLogger(__name__)

JOURNAL = "journal.jsonl"
ACKNOWLEDGED = "journal.sent.json"


@dataclass(frozen=True)
class Event:
    """A journal line; `end` is the byte offset behind it."""

    attempt: str
    kind: str
    time: int  # milliseconds since the epoch; MLflow's key for a metric, so that sending twice stores once
    data: Mapping[str, Any]
    end: int


@dataclass(frozen=True)
class Acknowledged:
    """How far MLflow has an attempt: everything before byte `offset` of the journal is in run `run_id`."""

    attempt: str
    offset: int
    run_id: str | None = None

    def save(self, folder: Path) -> None:
        """Replaces the mark; a lost one only means that some events are sent twice, which changes nothing."""
        path = folder / ACKNOWLEDGED
        partial = path.with_name(path.name + ".partial")
        partial.write_text(json.dumps(asdict(self)), encoding="utf-8")
        partial.replace(path)

    @classmethod
    def load(cls, folder: Path) -> Acknowledged | None:
        """The mark in `folder`, if there is a readable one."""
        try:
            return cls(**json.loads((folder / ACKNOWLEDGED).read_text(encoding="utf-8")))
        except FileNotFoundError:
            return None
        except (ValueError, TypeError) as error:
            log.warning("%s is unreadable (%s); its journal is sent again", folder / ACKNOWLEDGED, error)
            return None


@final
class Journal:
    """Appends one attempt's events; safe for several threads."""

    def __init__(self, folder: Path, attempt: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.attempt = folder, attempt
        self._lock = threading.Lock()
        self._file = (folder / JOURNAL).open("ab")
        _lock(self._file, fcntl.LOCK_SH)  # tells `sync` that a living run sends this journal itself
        self.start = self._file.tell()
        if torn_line(folder / JOURNAL):  # left by a kill in the middle of a write
            self._file.write(b"\n")

    def append(self, kind: str, **data: Any) -> None:
        """Writes one line through to the operating system."""
        head = {"attempt": self.attempt, "event": kind, "time": time.time_ns() // 1_000_000}
        line = json.dumps({**head, **data}, default=str, allow_nan=False) + "\n"
        with self._lock:
            self._file.write(line.encode())
            self._file.flush()

    def sync(self) -> None:
        """Writes through to the disk."""
        with self._lock:
            os.fsync(self._file.fileno())

    def close(self) -> None:
        """Closes the file and lets go of its lock."""
        with self._lock:
            self._file.close()


@contextmanager
def left_alone(folder: Path) -> Iterator[bool]:
    """Whether no living run writes to the journal; while the block lasts, none is sent from elsewhere either."""
    with (folder / JOURNAL).open("rb") as file:
        yield _lock(file, fcntl.LOCK_EX)


def _lock(file: BinaryIO, kind: int) -> bool:
    try:
        fcntl.flock(file, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:  # some network file systems have no locks
        log.debug("no lock on %s: %s", file.name, error)
    return True


def torn_line(path: Path) -> bool:
    """Whether a file ends in the middle of a line."""
    with path.open("rb") as file:
        if file.seek(0, os.SEEK_END) == 0:
            return False
        file.seek(-1, os.SEEK_END)
        return file.read(1) != b"\n"


def read_events(folder: Path, offset: int = 0) -> Iterator[Event]:
    """The complete lines from byte `offset` on; unreadable ones are skipped with a warning."""
    with (folder / JOURNAL).open("rb") as file:
        end = file.seek(offset)
        for line in file:
            if not line.endswith(b"\n"):
                return
            end += len(line)
            if line.strip():
                try:
                    raw = json.loads(line)
                    head = raw.pop("attempt"), raw.pop("event"), raw.pop("time")
                except (ValueError, KeyError, AttributeError):
                    log.warning("%s: unreadable line before byte %d skipped", folder / JOURNAL, end)
                    continue
                yield Event(*head, raw, end)


def encode(value: float) -> float | str:
    """A metric's value for JSON, which has no NaN and no infinity: those become their names."""
    return value if math.isfinite(value) else repr(value)
