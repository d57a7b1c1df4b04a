"""Reward functions for runs that the stage starts: each leaves its process's id in the folder `BAI_TEST_PIDS`."""

from __future__ import annotations

import logging
import os
import signal
import time
from pathlib import Path
from typing import Any

from bai_sweep.records import UserError

log = logging.getLogger("bai_sweep.of_a_test")


def _here() -> int:
    rank = os.environ.get("RANK", "alone")
    if folder := os.environ.get("BAI_TEST_PIDS"):
        (Path(folder) / rank).write_text(str(os.getpid()))
    return 0 if rank == "alone" else int(rank)


def early_words(completions: list[str], **_: Any) -> list[float]:
    """How early in the alphabet the words of each completion are, on average."""
    if _here() == 0:
        log.warning("judging %d", len(completions))
    words = [completion.split() or ["z"] for completion in completions]
    return [sum(ord("z") - ord(word[0]) for word in some) / len(some) / 26 for some in words]


def refused_by_the_second(completions: list[str], **_: Any) -> list[float]:
    """Bad input that only one process meets."""
    if _here() == 1:
        raise UserError("the judge is not there; start it")
    return [0.0] * len(completions)


def fatal_to_the_second(completions: list[str], **_: Any) -> list[float]:
    """As when memory runs out."""
    if _here() == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    return [0.0] * len(completions)


def without_end(completions: list[str], **_: Any) -> list[float]:
    """A judge that does not answer."""
    _here()
    time.sleep(600)
    return [0.0] * len(completions)
