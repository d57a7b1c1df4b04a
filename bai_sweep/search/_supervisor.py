"""Local worker processes, and what is done when one of them dies."""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import wait
from multiprocessing.context import SpawnProcess
from pathlib import Path

import cloudpickle

from bai_sweep.search._gpus import GPU_VARIABLE
from bai_sweep.search._queue import TrialQueue
from bai_sweep.search._stopping import say_stopping, stop_is_asked, stoppable
from bai_sweep.search._threads import THREAD_VARIABLES
from bai_sweep.search._worker import WorkerJob, record_failures, work

STOP_SECONDS = 20.0  # for a worker to give its trial back, once it has to stop at once, before it is killed
_FRUITLESS_DEATHS = 3  # of a worker that never took a trial: then it cannot start at all

_log = logging.getLogger(__name__)


@dataclass
class _Slot:
    index: int
    process: SpawnProcess
    fruitless: int = 0


def supervise(job: WorkerJob, queue: TrialQueue, *, workers: int, threads: int, gpus: Sequence[str]) -> None:
    """Keeps `workers` processes at work until the study owes nothing; a dead one is replaced.

    A trial that kills its worker is given up after `max_attempts`, so replacement comes to an end. The first Ctrl-C is
    passed on, and each worker stops at its trial's next safe point; the second stops them at once.

    Args:
        job: what each worker gets.
        queue: the study's as this process sees it.
        workers: how many.
        threads: CPU threads for each.
        gpus: the devices that each worker may see, as CUDA_VISIBLE_DEVICES has them; empty: all see the same.

    Raises:
        KeyboardInterrupt: the user has asked to stop twice; the workers were stopped and gave their trials back.
    """
    logs = job.address.folder / "workers"
    logs.mkdir(exist_ok=True)
    slots: list[_Slot] = []

    def pass_on() -> None:
        say_stopping()
        for slot in slots:
            slot.process.terminate()

    # The job goes through a file: what does not fit into a pipe would hold this process for ever, were its worker
    # killed before it has read it (CPython keeps the reading end open in the parent).
    with tempfile.NamedTemporaryFile(prefix="bai-sweep-job-") as file, stoppable(pass_on):
        file.write(cloudpickle.dumps(job))
        file.flush()

        def start(index: int) -> SpawnProcess:
            environment = dict.fromkeys(THREAD_VARIABLES, str(threads))
            environment |= {GPU_VARIABLE: gpus[index]} if gpus else {}
            return _start(Path(file.name), environment, logs / f"{index}.log", f"worker-{index}")

        try:
            for index in range(0 if stop_is_asked() else workers):
                slots.append(_Slot(index, start(index)))
                if stop_is_asked():  # while it was started: `pass_on` did not know of it
                    slots[-1].process.terminate()
                    break
            while slots:
                wait([slot.process.sentinel for slot in slots], timeout=1.0)
                for slot in [slot for slot in slots if slot.process.exitcode is not None]:
                    if stop_is_asked() or not _is_replaced(slot, job, queue):
                        slots.remove(slot)
                        continue
                    slot.process = start(slot.index)
                    if stop_is_asked():
                        slot.process.terminate()
        finally:
            _stop([slot.process for slot in slots])


def _is_replaced(slot: _Slot, job: WorkerJob, queue: TrialQueue) -> bool:
    code = slot.process.exitcode
    if code == 0:
        return False
    assert slot.process.pid is not None, "a process that ended had a pid"
    slot.fruitless = 0 if queue.has_held(slot.process.pid) else slot.fruitless + 1
    record_failures(job.config, queue.recover())
    replaced = slot.fruitless < _FRUITLESS_DEATHS and not queue.survey().is_over
    cause = f"signal {-code}" if code is not None and code < 0 else f"exit code {code}"
    print(
        f"worker {slot.index} died ({cause}; its output: {job.address.folder}/workers/{slot.index}.log)"
        f"{'; a new one takes its place' if replaced else ''}",
        file=sys.stderr,
    )
    return replaced


def _start(payload: Path, environment: Mapping[str, str], log: Path, name: str) -> SpawnProcess:
    context = multiprocessing.get_context("spawn")
    process = context.Process(target=_child, args=(payload, log), name=name)
    with _environment(environment):  # torch and numpy read it when the child imports them
        process.start()
    return process


@contextmanager
def _environment(variables: Mapping[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _stop(processes: list[SpawnProcess]) -> None:
    for process in processes:
        process.terminate()
    deadline = time.monotonic() + STOP_SECONDS
    try:
        for process in processes:
            process.join(max(0.0, deadline - time.monotonic()))
    finally:  # also on a second Ctrl-C
        for process in processes:
            process.kill()


def _child(payload: Path, log: Path) -> None:
    with log.open("a", encoding="utf-8") as file:
        os.dup2(file.fileno(), sys.stdout.fileno())
        os.dup2(file.fileno(), sys.stderr.fileno())
    threading.Thread(target=_end_with_parent, name="parent", daemon=True).start()
    with stoppable():
        # Ctrl-C reaches the whole process group; the supervisor alone acts on it, and passes it on as SIGTERM.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        try:
            work(cloudpickle.loads(payload.read_bytes()))
        except KeyboardInterrupt:
            sys.exit(130)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is None:
        return
    parent.join()
    for _ in range(2):  # at the next safe point, then at once
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(STOP_SECONDS)
    os._exit(1)
