"""One isolation level, and running programs in it."""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass, field
from threading import BoundedSemaphore

from bai_sweep.sandbox._host import Host, this_host
from bai_sweep.sandbox._levels import LEVELS
from bai_sweep.sandbox._records import Limits, Outcome
from bai_sweep.sandbox._run import run

_PLACES = BoundedSemaphore(os.cpu_count() or 1)


@dataclass(frozen=True)
class Sandbox:
    """Runs Python programs at one isolation level; thread-safe, every run is apart from every other.

    As many programs as there are cores run at once, whoever asks, so that they do not take each other's time; others
    wait before their clock starts.

    What is bounded at the levels `bubblewrap` and `namespaces`: address space of each process; resident memory of all
    together, looked at fifty times a second (so that it may be passed for a moment, at most to `processes` times
    the address space); files of the scratch folder together; processes and threads; CPU time of each and of all; wall
    time; output. Not bounded: bandwidth of disk and memory, and kernel memory beyond what descriptors, pipes and
    sockets of so many processes take.

    Args:
        level: `bubblewrap`, `namespaces` or `process`; `open_sandbox` checks that the host offers it.
        host: What of the host a run sees.
    """

    level: str
    host: Host = field(default_factory=this_host)

    def run(self, program: str, *, stdin: bytes = b"", limits: Limits | None = None) -> Outcome:
        """Runs a program with the Python version of this process; numpy is importable, nothing else but the library.

        Args:
            program: Python source text; its `__name__` is `__main__`.
            stdin: What it reads there.
            limits: What it may use; None for the defaults of `Limits`.

        Raises:
            SetupError: The isolation could not be made (the host ran out of something): nothing is known about
                the program.
        """
        limits = limits or Limits()
        source = program.encode("utf-8", errors="surrogatepass")
        with _PLACES, tempfile.TemporaryDirectory(prefix="sandbox-", ignore_cleanup_errors=True) as folder:
            return run(
                lambda report: LEVELS[self.level](self.host, limits, report, len(source)),
                source + stdin,
                folder=folder if self.level == "process" else "/",
                limits=limits,
            )
