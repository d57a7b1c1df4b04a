"""CPU threads for a worker, so that W workers do not fight over the cores."""

from __future__ import annotations

import os
import sys

THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "RAYON_NUM_THREADS")


def cores() -> int:
    """Cores this process may run on."""
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity is not None else os.cpu_count() or 1


def threads_per_worker(asked: int | None, workers: int) -> int:
    """`asked`, or an even share of the cores, or fewer where the user's OMP_NUM_THREADS says so."""
    if asked is not None:
        return asked
    share = max(1, cores() // workers)
    users = os.environ.get("OMP_NUM_THREADS", "")
    return min(share, int(users)) if users.isdigit() and int(users) > 0 else share


def limit_threads(threads: int) -> None:
    """Sets this process's threads: by the environment for libraries not yet loaded, and in torch if it is."""
    for variable in THREAD_VARIABLES:
        os.environ[variable] = str(threads)
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(threads)
