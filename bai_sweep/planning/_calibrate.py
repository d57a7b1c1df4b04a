"""Measures one point in a process of its own: its memory is then its own, and a kill for want of it ends no plan."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from contextlib import suppress
from pathlib import Path

from bai_sweep.config import TrialConfig
from bai_sweep.planning._calibration import Calibration
from bai_sweep.planning._job import ERROR, JOB, MEASURED
from bai_sweep.records import UserError

_LINES = 20
"""Of a failed measurement's log, shown in the error."""

_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "RAYON_NUM_THREADS")


class CalibrationError(RuntimeError):
    """The measurement failed by no fault of the user's, or its process was killed."""


def calibrate(config: TrialConfig, folder: Path, *, steps: int = 3, items: tuple[int, int] = (4, 16)) -> Calibration:
    """Runs the merge, a few PPO steps and a few items of each benchmark of one point, with its own settings.

    Only what makes it short differs from a trial: steps, warm-ups (a step with all its training is measured), a
    checkpoint after the last step, items, nothing tracked. Answers are asked for anew, whatever the cache knows. A
    judge that costs money is not asked: the benchmarks that need one are left out.

    Args:
        config: Checked.
        folder: On the disk that trials write to; a temporary folder in it is made and removed.
        steps: Of PPO, at least 2: the first is not timed, as it is slower. Not more than the trial has.
        items: Of each benchmark, in two runs whose difference tells what an item takes in a full batch.

    Raises:
        UserError: An input is bad (as of a trial).
        CalibrationError: The process failed or was killed; the message has the end of its log.
    """
    if steps < 2 or not 0 < items[0] <= items[1]:
        raise ValueError(f"a calibration takes 2 steps or more, and items in rising order; got {steps} and {items}")
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="calibration-", dir=folder) as name:
        place = Path(name)
        job = {"config": config.model_dump(mode="json"), "steps": steps, "items": items}
        (place / JOB).write_text(json.dumps(job), encoding="utf-8")
        _run(place, _threads(config))
        return Calibration.read(place / MEASURED)


def _threads(config: TrialConfig) -> int:
    """Those that a worker of the study has: an even share of the cores, unless the user says otherwise."""
    if config.threads is not None:
        return config.threads
    affinity = getattr(os, "sched_getaffinity", None)
    share = max((len(affinity(0)) if affinity else os.cpu_count() or 1) // config.workers, 1)
    users = os.environ.get("OMP_NUM_THREADS", "")
    return min(share, int(users)) if users.isdigit() and int(users) > 0 else share


def _run(place: Path, threads: int) -> None:
    """Starts the process and waits for it; it ends with this call, whatever ends that."""
    environment = {
        **os.environ,
        **dict.fromkeys(_THREADS, str(threads)),
        "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),  # reward functions are imported as here
    }
    log = place / "log.txt"
    command = [sys.executable, "-m", "bai_sweep.planning._measure", str(place)]
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
        )
        try:
            code = process.wait()
        finally:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    if code == 0:
        return
    if (place / ERROR).is_file():
        raise UserError((place / ERROR).read_text(encoding="utf-8"))
    how = f"was ended by {signal.Signals(-code).name}" if code < 0 else f"failed with status {code}"
    hint = " (out of memory?)" if code == -signal.SIGKILL else ""
    tail = "\n".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-_LINES:])
    raise CalibrationError(f"the calibration {how}{hint}; the end of its log:\n{tail}")
