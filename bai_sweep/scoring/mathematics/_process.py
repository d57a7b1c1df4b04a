"""One long-lived process that compares expressions with math-verify, replaced when it hangs or dies."""

from __future__ import annotations

import atexit
import json
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from bai_sweep.records import UserError

log = logging.getLogger(__name__)

MEMORY = 2**30  # bytes of address space
ENOUGH = 2**28  # bytes in use at some time, after which another process takes over
STARTING = 120.0  # seconds that loading the library may take on a busy machine
_PROGRAM = Path(__file__).with_name("_worker.py")
_TIME_IS_UP = {-signal.SIGPROF, -signal.SIGALRM}


class Comparer:
    """Owns the process; one comparison at a time, from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running: _Running | None = None

    @property
    def pid(self) -> int | None:
        """Of the process; None where none runs."""
        return self._running.process.pid if self._running else None

    def same(self, candidate: str, reference: str, seconds: float) -> bool | None:
        """Whether two expressions are equal; None where that was not settled within the limits.

        Raises:
            UserError: The process cannot be started.
        """
        request = json.dumps({"candidate": candidate, "reference": reference, "seconds": seconds}).encode() + b"\n"
        with self._lock:
            fresh = self._running is None
            reply, status = self._ask(request, seconds)
            if reply is None and not fresh and status not in _TIME_IS_UP:
                reply, _ = self._ask(request, seconds)  # what it did before may have been to blame
        return reply

    def close(self) -> None:
        """Ends the process; a later comparison starts another."""
        with self._lock:
            self._end()

    def _ask(self, request: bytes, seconds: float) -> tuple[bool | None, int]:
        """The reply; without one, how the process ended."""
        if self._running is None:
            self._start()
        reply = self._running.ask(request, 3.0 * seconds + 2.0) if self._running else b""
        if reply in (b"0\n", b"1\n"):
            return reply == b"1\n", 0
        return None, self._end()

    def _start(self) -> None:
        self._running = _Running.start()
        if self._running.line(STARTING) != b"ready\n":
            status = self._end()
            raise UserError(
                f"MATH answers are compared by math-verify in a process of its own, which ended with status {status} "
                f"before it was ready; `{sys.executable} -P {_PROGRAM} {MEMORY} {ENOUGH}` shows why"
            )

    def _end(self) -> int:
        running, self._running = self._running, None
        return running.end() if running else 0


@dataclass
class _Running:
    """A process and our end of the socket that is its standard input and output."""

    process: subprocess.Popen[bytes]
    channel: socket.socket

    @classmethod
    def start(cls) -> _Running:
        ours, its = socket.socketpair()
        with its:
            # -P: without the program's folder on the path. Sets of symbols are iterated over: one hash seed for all.
            process = subprocess.Popen(
                [sys.executable, "-P", str(_PROGRAM), str(MEMORY), str(ENOUGH)],
                stdin=its.fileno(),
                stdout=its.fileno(),
                stderr=subprocess.DEVNULL,
                env={**os.environ, "PYTHONHASHSEED": "0"},
            )
        return cls(process, ours)

    def ask(self, request: bytes, seconds: float) -> bytes:
        """The line that answers a request; empty where the process is gone or takes longer."""
        try:
            self.channel.settimeout(seconds)
            self.channel.sendall(request)
        except (BrokenPipeError, ConnectionResetError, TimeoutError):
            return b""
        return self.line(seconds)

    def line(self, seconds: float) -> bytes:
        """The next line; what there is of one when time is up or the process has ended."""
        end = time.monotonic() + seconds
        line = b""
        try:
            while not line.endswith(b"\n") and (left := end - time.monotonic()) > 0.0:
                self.channel.settimeout(left)
                if not (data := self.channel.recv(16)):
                    break
                line += data
        except (ConnectionResetError, TimeoutError):
            pass
        return line

    def end(self) -> int:
        """Kills it if it still runs. Returns how it ended, a signal as its negative number."""
        self.channel.close()
        try:
            return self.process.wait(timeout=0.2)  # one that ended itself: by which signal
        except subprocess.TimeoutExpired:
            self.process.kill()
            return self.process.wait()


def same_value(candidate: str, reference: str, seconds: float) -> bool:
    """Whether math-verify finds two expressions equal within `seconds` of processor time."""
    verdict = _comparer(os.getpid()).same(candidate, reference, seconds)
    if verdict is None:
        log.warning("not settled within %g s and %d bytes, so not equal: %.80r", seconds, MEMORY, candidate)
    return bool(verdict)


@lru_cache(maxsize=1)
def _comparer(pid: int) -> Comparer:
    """This process's own: a fork must not talk to its parent's."""
    comparer = Comparer()
    atexit.register(comparer.close)
    return comparer
