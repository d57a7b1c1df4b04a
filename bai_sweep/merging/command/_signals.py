"""The signals that end a merge early, all of them as Ctrl-C does."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

# a terminal's Ctrl-C, a scheduler's or `kill`'s request, a terminal that was closed
_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_BEFORE = (signal.SIG_DFL, signal.default_int_handler)


class Stopped(KeyboardInterrupt):
    """A signal has asked for the end.

    Args:
        number: Of the signal.
    """

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.code = 128 + number


@contextmanager
def stopping() -> Iterator[None]:
    """In the block a signal that asks for the end raises `Stopped`, once: what is tidied up then is not disturbed.

    A signal that this process was started to ignore (nohup) stays ignored.
    """
    before: dict[signal.Signals, Any] = {}
    if threading.current_thread() is threading.main_thread():
        before = {number: was for number in _ENDING if (was := signal.getsignal(number)) in _BEFORE}

    stopped = False

    def stop(number: int, frame: FrameType | None) -> None:
        nonlocal stopped
        del frame
        if not stopped:  # not SIG_IGN: Python complains of a signal that came before it
            stopped = True
            raise Stopped(number)

    try:
        for number in before:
            signal.signal(number, stop)
        yield
    finally:
        for number, was in before.items():
            signal.signal(number, was)
