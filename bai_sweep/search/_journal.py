"""Optuna's journal file, made to survive a full disk, a killed writer and a lock that was lost."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from optuna.storages.journal import JournalFileBackend, JournalFileSymlinkLock

_log = logging.getLogger(__name__)


class Journal(JournalFileBackend):
    """Appends whole lines or nothing.

    Args:
        path: absolute. The lock is a link to it, and Optuna waits without end for one that leads nowhere.
    """

    def __init__(self, path: Path) -> None:
        # A lock that works on NFS too; one whose holder was killed is broken after 30 s.
        super().__init__(str(path), JournalFileSymlinkLock(str(path)))
        self._path = path
        if _whole(path) < path.stat().st_size:
            with self._held():
                self._cut()

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        """Writes to the disk; what a full disk has taken half of is taken back, and the error raised."""
        lines = "".join(json.dumps(log, separators=(",", ":")) + "\n" for log in logs).encode()
        with self._held(), self._path.open("r+b") as file:
            begin = file.seek(0, os.SEEK_END)
            if begin and not self._ends_well(file, begin):
                self._cut()
                begin = file.seek(0, os.SEEK_END)
            try:
                file.write(lines)
                file.flush()
                os.fsync(file.fileno())
            except OSError:
                os.ftruncate(file.fileno(), begin)
                raise

    @contextmanager
    def _held(self) -> Iterator[None]:
        self._lock.acquire()
        try:
            yield
        finally:
            try:
                self._lock.release()
            except RuntimeError:
                _log.warning("%s: the lock was taken from this process, which was halted for too long", self._path)

    @staticmethod
    def _ends_well(file: Any, size: int) -> bool:
        file.seek(size - 1)
        ends: bool = file.read(1) == b"\n"
        return ends

    def _cut(self) -> None:
        """Drops a last line that a kill or a full disk has left unfinished: the next would be glued to it."""
        size, whole = self._path.stat().st_size, _whole(self._path)
        if whole < size:
            os.truncate(self._path, whole)
            _log.warning("%s: its last line was not whole, %d bytes were cut off", self._path, size - whole)


def _whole(path: Path) -> int:
    """Bytes of a journal up to the end of its last line, or of the one before where the last is not whole."""
    data = path.read_bytes()
    begin = data.rfind(b"\n", 0, len(data) - 1) + 1  # of the last line
    try:
        json.loads(data[begin:] or b"{}")
    except ValueError:
        return begin
    return len(data) if data.endswith(b"\n") or not data else begin
