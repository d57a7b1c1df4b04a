"""Compares formulas in a process of its own: computer algebra may run for hours, or fill the memory, on a response."""

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

_log = logging.getLogger(__name__)

SECONDS = 60.0  # the official scorer's at its newest; at the commit of the recorded judgments it had no limit
STARTUP_SECONDS = 300.0
WALL_FACTOR = 10.0  # a busy machine may give a process a tenth of its time
_LIMIT_REACHED = frozenset({-signal.SIGXCPU, -signal.SIGKILL})  # of processor time, and of time
_WORKER = Path(__file__).with_name("_symbolic.py")


def equivalent(truth: str, answer: str, *, seconds: float = SECONDS) -> bool:
    """Whether two LaTeX formulas have a difference that simplifies to less than a thousandth.

    Args:
        truth: The reference's.
        answer: The response's.
        seconds: Of processor time, so that the result does not hang on how busy the machine is; False beyond.

    Raises:
        UserError: The process cannot be started.
    """
    request = json.dumps([truth, answer, seconds]).encode() + b"\n"
    reply = _companion(os.getpid()).ask(request, seconds * WALL_FACTOR)
    if not reply:
        _log.warning("no result within %g s and the memory, so not equal: %.200r", seconds, answer)
    return reply == b"true\n"


def _command() -> list[str]:
    return [sys.executable, "-P", str(_WORKER)]  # without its folder on the path


@lru_cache(maxsize=1)
def _companion(_pid: int) -> Companion:
    """This process's own: a fork must not talk to its parent's."""
    process = Companion(_command, _LIMIT_REACHED, STARTUP_SECONDS)
    atexit.register(process.close)
    return process
