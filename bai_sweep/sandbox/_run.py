"""One run from outside: feeds stdin, keeps output up to the limit, watches what is used, ends everything."""

from __future__ import annotations

import os
import selectors
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import IO

from bai_sweep.sandbox import _tree
from bai_sweep.sandbox._host import ENVIRONMENT
from bai_sweep.sandbox._inside import MEMORY_SIGNAL
from bai_sweep.sandbox._records import Limits, Outcome, Status

_TICK = 0.02  # seconds between two looks at what a run uses
_CHUNK = 1 << 16
_PATIENCE = 5.0  # seconds that a killed run may take to be gone
_SIGNALS: dict[int, Status] = {MEMORY_SIGNAL: "memory", signal.SIGXCPU: "timeout"}


class SetupError(RuntimeError):
    """The isolation could not be made, so that nothing is known about the program."""


@dataclass
class Run:
    """A started process and what has come from it so far."""

    process: subprocess.Popen[bytes]
    report: int
    limits: Limits
    started: float
    pending: memoryview
    outputs: dict[str, bytearray] = field(default_factory=lambda: {"stdout": bytearray(), "stderr": bytearray()})
    reported: bytes = b""
    verdict: Status | None = None  # of the limit that was passed
    looked: float = 0.0  # when its usage was last measured

    def conduct(self) -> Outcome:
        """Until the program has ended, by itself or not, and nothing of it is left.

        Raises:
            SetupError: The program never began.
        """
        with selectors.DefaultSelector() as selector:
            self._register(selector)
            try:
                while not self._ended():
                    self._pump(selector, _TICK)
                    self.verdict = self.verdict or self._excess()
            finally:
                self._end()
            while len(selector.get_map()) and self._pump(selector, 0.0):
                pass
        return self._outcome(time.monotonic() - self.started)

    def _ended(self) -> bool:
        ended = b"exit" in self.reported or b"signal" in self.reported
        return ended or self.verdict is not None or self.process.poll() is not None

    def _register(self, selector: selectors.BaseSelector) -> None:
        pipes: list[tuple[IO[bytes] | int | None, str]] = [(self.report, "report")]
        pipes += [(self.process.stdout, "stdout"), (self.process.stderr, "stderr")]
        for pipe, name in pipes:
            if pipe is not None:
                selector.register(pipe, selectors.EVENT_READ, name)
        if self.process.stdin is not None:
            os.set_blocking(self.process.stdin.fileno(), False)
            selector.register(self.process.stdin, selectors.EVENT_WRITE, "stdin")

    def _pump(self, selector: selectors.BaseSelector, timeout: float) -> bool:
        """Moves what can be moved; whether there was anything."""
        ready = selector.select(timeout)
        for key, _ in ready:
            done = self._write(key.fd) if key.data == "stdin" else self._read(key.fd, key.data)
            if done:
                selector.unregister(key.fileobj)
                if key.data == "stdin" and self.process.stdin is not None:
                    self.process.stdin.close()
        return bool(ready)

    def _write(self, descriptor: int) -> bool:
        try:
            self.pending = self.pending[os.write(descriptor, self.pending[:_CHUNK]) :]
        except BrokenPipeError:
            return True
        return not self.pending

    def _read(self, descriptor: int, name: str) -> bool:
        data = os.read(descriptor, _CHUNK)
        if name == "report":
            self.reported += data
            return not data
        room = self.limits.output_bytes - sum(map(len, self.outputs.values()))
        if len(data) > room:
            self.verdict = self.verdict or "output"
        self.outputs[name] += data[:room]
        return not data

    def _excess(self) -> Status | None:
        now = time.monotonic()
        if now - self.started > self.limits.seconds:
            return "timeout"
        if now - self.looked < _TICK:
            return None
        self.looked = now
        used = _tree.usage(_tree.descendants(self.process.pid))
        if used.resident_bytes > self.limits.memory_bytes:
            return "memory"
        if used.cpu_seconds > self.limits.cpu_seconds:
            return "timeout"
        return "killed" if used.tasks > self.limits.processes + 1 else None  # and the one that waits

    def _end(self) -> None:
        """Kills inwards first: the outermost process then reaps the first one inside, and no zombie is left."""
        deadline = time.monotonic() + _PATIENCE
        while self.process.poll() is None:
            _tree.kill(_tree.descendants(self.process.pid))
            if time.monotonic() > deadline:
                self.process.kill()
            try:
                self.process.wait(timeout=0.01)
            except subprocess.TimeoutExpired:
                continue

    def _outcome(self, seconds: float) -> Outcome:
        stdout, stderr = (bytes(self.outputs[name]) for name in ("stdout", "stderr"))
        words = self.reported.decode().split()
        if not words and self.verdict is None:
            raise SetupError(stderr.decode(errors="replace").strip()[-1000:] or "no message")
        status, code = _read_end(words[1:])
        return Outcome(self.verdict or status, None if self.verdict else code, stdout, stderr, seconds)


def _read_end(words: list[str]) -> tuple[Status, int | None]:
    """From what _inside.py reported of the program's end."""
    if words[:1] == ["exit"]:
        return ("failed" if int(words[1]) else "ok"), int(words[1])
    if words[:1] == ["signal"]:
        return _SIGNALS.get(int(words[1]), "killed"), None
    return "killed", None


def run(command: Callable[[int], list[str]], data: bytes, *, folder: str, limits: Limits) -> Outcome:
    """Starts a command and conducts it to its end.

    Args:
        command: From the descriptor to report on, of `_levels`.
        data: The program, then its stdin.
        folder: Current folder to start in.
        limits: On the run.

    Raises:
        SetupError: The program never began.
    """
    reading, writing = os.pipe()
    try:
        started = time.monotonic()
        try:
            process = subprocess.Popen(
                command(writing),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                bufsize=0,
                cwd=folder,
                env=ENVIRONMENT,
                pass_fds=(writing,),
                start_new_session=True,
            )
        except OSError as error:
            raise SetupError(str(error)) from error
        finally:
            os.close(writing)
        with process:
            return Run(process, reading, limits, started, memoryview(data)).conduct()
    finally:
        os.close(reading)
