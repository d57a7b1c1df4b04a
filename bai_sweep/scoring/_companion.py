"""A long-lived process that answers lines with lines, for work that may hang, crash or fill the memory."""

from __future__ import annotations

import os
import shlex
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import final

from bai_sweep.records import UserError


@final
class Companion:
    """Owns the process, started when first asked and again after it has ended; one request at a time, any thread.

    The program says `ready` when it can be asked, then answers each line on its standard input with one of its own.

    Args:
        command: What to start, asked for at each start.
        limits: Statuses with which it ends where a request has reached a limit: asking again would be in vain.
        starting: Seconds that it may take to be ready.
    """

    def __init__(self, command: Callable[[], Sequence[str]], limits: frozenset[int], starting: float) -> None:
        self._command, self._limits, self._starting = command, limits, starting
        self._lock = threading.Lock()
        self._running: _Running | None = None

    @property
    def pid(self) -> int | None:
        """Of the process; None where none runs."""
        return self._running.process.pid if self._running else None

    def ask(self, request: bytes, seconds: float) -> bytes:
        """The line that answers a request; empty where there is none within so many seconds of wall time.

        A process that ends on a request for another reason than its limits is replaced, and a new one asked once
        more: what it did before may have been to blame.

        Raises:
            UserError: The process cannot be started.
        """
        with self._lock:
            fresh = self._running is None
            reply, status = self._try(request, seconds)
            if not reply and not fresh and status not in self._limits:
                reply, _ = self._try(request, seconds)
        return reply

    def close(self) -> None:
        """Ends the process; a later request starts another."""
        with self._lock:
            self._end()

    def _try(self, request: bytes, seconds: float) -> tuple[bytes, int]:
        """The reply; without one, how the process ended."""
        running = self._running or self._start()
        reply = running.ask(request, seconds)
        return (reply, 0) if reply.endswith(b"\n") else (b"", self._end())

    def _start(self) -> _Running:
        command = self._command()
        self._running = running = _Running.start(command)
        if running.line(self._starting) != b"ready\n":
            raise UserError(
                f"answers are compared in a process of its own, which ended with status {self._end()} before it was "
                f"ready; `{shlex.join(command)}` shows why"
            )
        return running

    def _end(self) -> int:
        running, self._running = self._running, None
        return running.end() if running else 0


@dataclass
class _Running:
    """A process and our end of the socket that is its standard input and output."""

    process: subprocess.Popen[bytes]
    channel: socket.socket

    @classmethod
    def start(cls, command: Sequence[str]) -> _Running:
        ours, its = socket.socketpair()
        with its:
            process = subprocess.Popen(
                list(command),
                stdin=its.fileno(),
                stdout=its.fileno(),
                stderr=subprocess.DEVNULL,
                env={**os.environ, "PYTHONHASHSEED": "0"},  # sets of symbols are iterated over
            )
        return cls(process, ours)

    def ask(self, request: bytes, seconds: float) -> bytes:
        """The line that answers a request; empty where the process is gone."""
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
