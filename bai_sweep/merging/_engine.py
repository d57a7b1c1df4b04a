"""Takes every tensor of a merge through its method into the sink, with a few threads and a few small rooms."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np

from bai_sweep.merging._types import BLOCK, Method, Observer, Sink, TensorInfo, Tensors
from bai_sweep.merging._worker import Merge, Run, Worker

UNIT_BLOCKS = 4
"""Blocks that a worker takes at a time: few enough that all workers end together."""


def run(
    tensors: Sequence[TensorInfo],
    values: Mapping[str, Tensors],
    method: Method,
    sink: Sink,
    *,
    threads: int,
    block: int = BLOCK,
    observer: Observer | None = None,
    on_progress: Callable[[int], None] | None = None,
) -> None:
    """Merges every tensor. The caller's thread works too; the result depends on neither `threads` nor `block`.

    Args:
        tensors: What to merge.
        values: Each member's tensors.
        method: How.
        sink: Where the merged values go.
        threads: How many work, at least 1.
        block: Elements at a time, at least 1.
        observer: Sees every merged block before it is written.
        on_progress: Gets the number of elements just finished, from any thread.

    Raises:
        UserError: A member cannot be read, the merge is not finite, or the sink refuses it.
        BaseException: The first error of any thread, a Ctrl-C among them; the others have stopped then.
    """
    if threads < 1 or block < 1:
        raise ValueError(f"a merge takes at least one thread and one element a block; got {threads} and {block}")
    schedule = _Schedule(tensors, block * UNIT_BLOCKS, largest_first=method.surveys > 0)

    def work() -> None:
        try:
            with np.errstate(all="ignore"):  # what is not finite is found below, and said better
                _work(Worker(Merge(values, method, sink, block, observer, on_progress), schedule.check), schedule)
        except BaseException as error:  # noqa: BLE001  raised by `run`, whatever it is
            schedule.stop(error)

    others = [threading.Thread(target=work, name=f"merge-{number}", daemon=True) for number in range(1, threads)]
    try:
        for other in others:
            other.start()
        work()
    except BaseException as error:  # a Ctrl-C while threads are started
        schedule.stop(error)
        raise
    finally:
        _join(others, schedule)
    if schedule.error is not None:
        raise schedule.error


def _work(worker: Worker, schedule: _Schedule) -> None:
    """What one thread does, until there is nothing left, or somebody has stopped."""
    while (task := schedule.next()) is not None:
        if isinstance(task, Run):
            worker.merge(task)
            continue
        runs = [Run(tensor, worker.survey(tensor), 0, tensor.size) for tensor in task]
        if len(runs) == 1:
            schedule.surveyed(runs)
            continue
        schedule.surveyed(())
        for run_ in runs:
            worker.merge(run_)


def _join(threads: Sequence[threading.Thread], schedule: _Schedule) -> None:
    for thread in threads:
        while thread.is_alive():
            try:
                thread.join()
            except KeyboardInterrupt as interrupt:  # still waits: nothing may write once `run` has returned
                schedule.stop(interrupt)


class _Schedule:
    """Who does what next: merges of surveyed tensors first, then the next group of tensors to survey."""

    def __init__(self, tensors: Sequence[TensorInfo], unit: int, *, largest_first: bool) -> None:
        if largest_first:  # so that no thread surveys a large tensor alone at the end
            tensors = sorted(tensors, key=lambda tensor: -tensor.size)
        self._unit = unit
        self._groups = deque(grouped(tensors, unit))
        self._ready: deque[Run] = deque()
        self._surveying = 0
        self._changed = threading.Condition()
        self.error: BaseException | None = None
        self.stopped = False

    def stop(self, error: BaseException) -> None:
        """Nobody goes on; the first error stays."""
        with self._changed:
            self.error = self.error or error
            self.stopped = True
            self._changed.notify_all()

    def check(self) -> None:
        """Raises in a thread that should stop."""
        if self.stopped:
            raise _Stopped

    def next(self) -> Run | list[TensorInfo] | None:
        """A run to merge, or tensors to survey (`surveyed` is to be called then), or None at the end."""
        with self._changed:
            while not self.stopped:
                if self._ready:
                    return self._ready.popleft()
                if self._groups:
                    self._surveying += 1
                    return self._groups.popleft()
                if not self._surveying:
                    return None
                self._changed.wait()
        return None

    def surveyed(self, runs: Sequence[Run]) -> None:
        """Adds what a group's survey has made ready, in pieces of a unit."""
        with self._changed:
            for run_ in runs:
                for start in range(run_.start, run_.stop, self._unit):
                    stop = min(start + self._unit, run_.stop)
                    self._ready.append(Run(run_.tensor, run_.survey, start, stop))
            self._surveying -= 1
            self._changed.notify_all()


def grouped(tensors: Sequence[TensorInfo], unit: int) -> Iterator[list[TensorInfo]]:
    """Neighbours that are one unit together at most; a larger tensor is alone."""
    group: list[TensorInfo] = []
    filled = 0
    for tensor in tensors:
        if group and filled + tensor.size > unit:
            yield group
            group, filled = [], 0
        if tensor.size:
            group.append(tensor)
            filled += tensor.size
    if group:
        yield group


class _Stopped(Exception):  # noqa: N818  no error: another thread's is the one
    """Another thread has stopped the merge."""
