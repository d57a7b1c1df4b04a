"""Compares formulas in a process of its own: computer algebra may run for hours, or fill the memory, on a response."""

from __future__ import annotations

import atexit
import json
import logging
import os
import select
import signal
import subprocess
import sys
import threading
from functools import lru_cache
from pathlib import Path

_log = logging.getLogger(__name__)

SECONDS = 60.0  # the official scorer's at its newest; at the commit of the recorded judgments it had no limit
STARTUP_SECONDS = 300.0
_LIMIT_REACHED = (-signal.SIGXCPU, -signal.SIGKILL)  # of processor time, and of time
WALL_FACTOR = 10.0  # a busy machine may give a process a tenth of its time
_WORKER = Path(__file__).with_name("_symbolic.py")


def equivalent(truth: str, answer: str, *, seconds: float = SECONDS) -> bool:
    """Whether two LaTeX formulas have a difference that simplifies to less than a thousandth.

    Args:
        truth: The reference's.
        answer: The response's.
        seconds: Of processor time, so that the result does not hang on how busy the machine is; False beyond.

    Raises:
        RuntimeError: The process cannot be started.
    """
    return _comparer(os.getpid()).equivalent(truth, answer, seconds)


class _Comparer:
    """The process, started when first needed and again after one that ended; one comparison at a time."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None

    def equivalent(self, truth: str, answer: str, seconds: float) -> bool:
        request = json.dumps([truth, answer, seconds]).encode() + b"\n"
        with self._lock:
            fresh = self._process is None
            reply, status = self._ask(request, seconds)
            if not reply and not fresh and status not in _LIMIT_REACHED:
                reply, _ = self._ask(request, seconds)  # what the process did before may be to blame
        if not reply:
            _log.warning("no result within %g s and the memory, so not equal: %.200r", seconds, answer)
        return reply == b"true\n"

    def close(self) -> None:
        with self._lock:
            self._end()

    def _ask(self, request: bytes, seconds: float) -> tuple[bytes, int]:
        """The reply; without one, how the process ended."""
        if self._process is None:
            self._process = _start()
        reply = _exchange(self._process, request, seconds * WALL_FACTOR)
        return reply, 0 if reply else self._end()

    def _end(self) -> int:
        process, self._process = self._process, None
        return _stop(process) if process else 0


@lru_cache(maxsize=1)
def _comparer(_pid: int) -> _Comparer:
    """This process's own: a fork must not talk to its parent's."""
    comparer = _Comparer()
    atexit.register(comparer.close)
    return comparer


def _stop(process: subprocess.Popen[bytes]) -> int:
    """Ends a process that has not ended by itself. Returns how it ended, a signal as its negative number."""
    try:
        process.communicate(timeout=0.2)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
    return process.returncode


def _start() -> subprocess.Popen[bytes]:
    process = subprocess.Popen(
        [sys.executable, "-P", str(_WORKER)],  # without its folder on the path
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        bufsize=0,
        env=os.environ | {"PYTHONHASHSEED": "0"},  # SymPy's simplification goes through sets
    )
    if _exchange(process, b"", STARTUP_SECONDS) != b"ready\n":
        _stop(process)
        raise RuntimeError(
            f"the process that compares formulas did not start; {sys.executable} {_WORKER} shows why "
            "(it needs sympy, lark and latex2sympy2_extended)"
        )
    return process


def _exchange(process: subprocess.Popen[bytes], request: bytes, seconds: float) -> bytes:
    """Sends a line and reads one; empty where the process ended or time ran out."""
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        process.stdin.write(request)
    except BrokenPipeError:
        return b""
    readable, _, _ = select.select([process.stdout], [], [], seconds)
    return process.stdout.readline() if readable else b""
