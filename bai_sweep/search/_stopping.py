"""How a worker is asked to stop: once, at the next point at which nothing is lost; twice, at once.

Ctrl-C and SIGTERM count alike. Other machines are asked through the study (`TrialQueue.request_stop`).
"""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

_asked = threading.Event()


def stop_is_asked() -> bool:
    """Whether this process has been asked to stop."""
    return _asked.is_set()


def ask_to_stop() -> None:
    """What the first Ctrl-C does."""
    _asked.set()


@contextmanager
def stoppable(on_first: Callable[[], object] = lambda: None) -> Iterator[None]:
    """Within the body the first Ctrl-C or SIGTERM asks to stop and calls `on_first`; the second is KeyboardInterrupt.

    Outside the main thread signals cannot be caught, and nothing changes.
    """
    _asked.clear()
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def hear(_signal: int, _frame: FrameType | None) -> None:
        if _asked.is_set():
            raise KeyboardInterrupt
        _asked.set()
        on_first()

    before = {kind: signal.signal(kind, hear) for kind in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for kind, handler in before.items():
            signal.signal(kind, handler)


@contextmanager
def terminated_as_interrupted() -> Iterator[None]:
    """Within the body SIGTERM acts like Ctrl-C."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(_signal: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def say_stopping() -> None:
    """Tells the user on the terminal what the first Ctrl-C has begun."""
    print(
        "\nstopping: the running trials finish their step and save; Ctrl-C again stops at once",
        file=sys.stderr,
        flush=True,
    )
