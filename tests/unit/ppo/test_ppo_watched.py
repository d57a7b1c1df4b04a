"""Calls on a thread that somebody else looks at."""

from __future__ import annotations

import time

import pytest

from bai_sweep.ppo.rollouts._watched import WatchedThread


def test_after_its_end_nothing_is_waited_for() -> None:
    thread = WatchedThread("test")
    assert thread.call(lambda: 7, 5.0) == 7
    thread.close()

    start = time.monotonic()
    with pytest.raises(RuntimeError, match="the thread 'test' is closed"):
        thread.call(lambda: 7, 5.0)
    assert time.monotonic() - start < 1.0
