"""math-verify in a process of its own: it reads what a model wrote, and may run for hours on it."""

from __future__ import annotations

import atexit
import json
import logging
import os
import signal
import sys
from functools import lru_cache
from pathlib import Path

from bai_sweep.scoring._companion import Companion

log = logging.getLogger(__name__)

MEMORY = 2**30  # bytes of address space
ENOUGH = 2**28  # bytes in use, after which another process takes over
STARTING = 120.0  # seconds that loading the library may take on a busy machine
_PROGRAM = Path(__file__).with_name("_worker.py")
_TIME_IS_UP = frozenset({-signal.SIGPROF, -signal.SIGALRM})


def companion() -> Companion:
    """A process that compares expressions; it is not started yet."""
    return Companion(_command, _TIME_IS_UP, STARTING)


def same(process: Companion, candidate: str, reference: str, seconds: float) -> bool | None:
    """Whether two expressions are equal; None where that was not settled within the limits.

    Raises:
        UserError: The process cannot be started.
    """
    request = json.dumps({"candidate": candidate, "reference": reference, "seconds": seconds}).encode() + b"\n"
    return {b"1\n": True, b"0\n": False}.get(process.ask(request, 3.0 * seconds + 2.0))


def same_value(candidate: str, reference: str, seconds: float) -> bool:
    """Whether math-verify finds two expressions equal within `seconds` of processor time."""
    verdict = same(_companion(os.getpid()), candidate, reference, seconds)
    if verdict is None:
        log.warning("not settled within %g s and %d bytes, so not equal: %.80r", seconds, MEMORY, candidate)
    return bool(verdict)


def _command() -> list[str]:
    # -P: without the program's folder on the path
    return [sys.executable, "-P", str(_PROGRAM), str(MEMORY), str(ENOUGH)]


@lru_cache(maxsize=1)
def _companion(pid: int) -> Companion:
    """This process's own: a fork must not talk to its parent's."""
    process = companion()
    atexit.register(process.close)
    return process
