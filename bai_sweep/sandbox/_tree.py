"""The processes below one, seen from the host: what they use together, and their end.

A program's processes all descend from the one that was started: those whose parent dies are adopted by the first
process of their pid namespace, or by a subreaper.
"""

from __future__ import annotations

import os
import signal
import threading
from dataclasses import dataclass
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")
_GONE = (FileNotFoundError, ProcessLookupError)  # it ended between two reads


@dataclass(frozen=True)
class Usage:
    """What a tree uses: resident bytes, processes and threads, CPU seconds (those of the dead included)."""

    resident_bytes: int
    tasks: int
    cpu_seconds: float


def supported() -> bool:
    """Whether the kernel lists a process's children (CONFIG_PROC_CHILDREN, which distributions set)."""
    return Path(f"/proc/self/task/{threading.get_native_id()}/children").exists()


def children(pid: int) -> list[int]:
    """Of all threads of a process."""
    found: list[int] = []
    try:
        for task in Path(f"/proc/{pid}/task").iterdir():
            found += map(int, (task / "children").read_text().split())
    except _GONE:
        pass
    return found


def descendants(pid: int) -> list[int]:
    """Without the process itself, parents first."""
    found = children(pid)
    for child in found:
        found += children(child)
    return found


def usage(pids: list[int]) -> Usage:
    """Memory that several share is counted for each: a program that forks has less, never more, than its limit."""
    resident = tasks = 0
    cpu = 0.0
    for pid in pids:
        try:
            pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()  # the name may hold spaces
        except _GONE:
            continue
        resident += pages * _PAGE
        tasks += int(fields[17])
        cpu += sum(map(int, fields[11:15])) / _TICKS  # its own and those of children it has waited for
    return Usage(resident, tasks, cpu)


def kill(pids: list[int]) -> None:
    """SIGKILL to each that still is."""
    for pid in pids:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue
