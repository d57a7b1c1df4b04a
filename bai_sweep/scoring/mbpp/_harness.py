"""Runs inside the sandbox after the source of _wire.py: calls a function on each input and writes what it returned.

The candidate runs in this process and may change anything in it. That gains it nothing: expected outputs are not
here, and what is written is judged outside. Its own printing goes nowhere. A test that raises or takes too long ends
the run, as one failed test fails the candidate (evalplus's `fast_check`).
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from types import FrameType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bai_sweep.scoring.mbpp._wire import dumps, loads


class OutOfTimeError(BaseException):
    """A test took longer than it may."""


def presented(value: Any, mode: str) -> Any:
    """What is judged of an output: itself, its members where order does not count, or only that there is one."""
    if mode == "members":
        return list(value)
    if mode == "exists":
        return value if type(value) is bool else value is not None
    return value is not None if mode == "expected exists" else value


def write(descriptor: int, *fields: str) -> None:
    """One line of tab-separated fields, none of which holds a tab or a line end."""
    data = ("\t".join(fields) + "\n").encode()
    while data:
        data = data[os.write(descriptor, data) :]


def out_of_time(number: int, frame: FrameType | None) -> None:
    """For SIGALRM."""
    raise OutOfTimeError


def main() -> None:
    """Reads the job on stdin: code, entry point, mode, then inputs and their limits in seconds."""
    job = json.loads(sys.stdin.buffer.read())
    results, nowhere = os.dup(1), os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(nowhere, stream)
    signal.signal(signal.SIGALRM, out_of_time)
    try:
        namespace: dict[str, Any] = {}
        exec(job["code"], namespace)
        function = namespace[job["entry_point"]]
        for text, seconds in zip(job["inputs"], job["seconds"], strict=True):
            arguments = loads(text)
            signal.setitimer(signal.ITIMER_REAL, seconds)
            started = time.perf_counter()
            value = function(*arguments)
            signal.setitimer(signal.ITIMER_REAL, 0)
            write(results, "ok", f"{time.perf_counter() - started:.6f}", dumps(presented(value, job["mode"])))
    except BaseException as error:  # noqa: BLE001 (as evalplus: exit() too is a failed test)
        write(results, "error", json.dumps(f"{type(error).__name__}: {error}"[:300]))
    os._exit(0)  # threads and exit handlers of the candidate do not hold it up


if __name__ == "__main__":
    main()
