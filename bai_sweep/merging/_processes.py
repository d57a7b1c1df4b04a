"""A merge in forked processes: as `_engine.run`, without the one lock that Python's threads hand to and fro."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, final

import numpy as np

from bai_sweep.merging import _engine, _forks
from bai_sweep.merging._types import BLOCK, Method, Observer, Sink, TensorInfo, Tensors
from bai_sweep.merging._worker import Merge, Run, Worker

_PAUSE = 0.05  # seconds between two messages of a worker


class Gathered(Observer, Protocol):
    """An observer that may look on in several processes, each with a copy of it, and be put together afterwards."""

    def take(self) -> Any:
        """What was seen since the last `take`, for pickle; it is forgotten here."""

    def absorb(self, taken: Any) -> None:
        """Adds what another copy has seen."""


def run(
    tensors: Sequence[TensorInfo],
    values: Mapping[str, Tensors],
    method: Method,
    sink: Sink,
    *,
    processes: int,
    block: int = BLOCK,
    observer: Gathered | None = None,
    on_progress: Callable[[int], None] | None = None,
) -> None:
    """Merges every tensor in processes forked from this one, to the same bits as `_engine.run`.

    This process may have no other threads, and no GPU in use. It waits meanwhile, so that a Ctrl-C is answered at
    once: the others are killed, and have ended when this returns. Where one process is wanted, or the system cannot
    fork, this is `_engine.run`.

    Args:
        tensors: What to merge.
        values: Each member's tensors.
        method: How.
        sink: Where the merged values go: open files, or memory that forks share.
        processes: How many work, at least 1.
        block: Elements at a time, at least 1.
        observer: Sees every merged block before it is written, in the process that merged it.
        on_progress: Gets the number of elements just finished, in this process.

    Raises:
        UserError: A member cannot be read, the merge is not finite, the sink refuses it, or a process was killed.
        BaseException: The first error of any process, a Ctrl-C among them; the others have ended then.
    """
    if processes <= 1 or not _forks.available():
        _engine.run(
            tensors,
            values,
            method,
            sink,
            threads=processes,
            block=block,
            observer=observer,
            on_progress=on_progress,
        )
        return
    if block < 1:
        raise ValueError(f"a merge takes at least one element a block; got {block}")
    units = list(_units(tensors, block * _engine.UNIT_BLOCKS, whole=method.surveys > 0))
    merge = Merge(values, method, sink, block, observer, None)
    with _forks.Crew(processes, len(units), lambda channel: _work(units, merge, observer, channel)) as crew:
        for done, taken in crew.messages():
            if observer is not None:
                observer.absorb(taken)
            if done and on_progress is not None:
                on_progress(done)


@dataclass(frozen=True)
class _Part:
    """Elements of one tensor."""

    tensor: TensorInfo
    start: int
    stop: int


def _units(tensors: Sequence[TensorInfo], unit: int, *, whole: bool) -> Iterator[list[_Part]]:
    """What a worker takes at a time; a tensor that is surveyed stays whole, the largest come first then."""
    if whole:
        tensors = sorted(tensors, key=lambda tensor: -tensor.size)
    for group in _engine.grouped(tensors, unit):
        size = group[0].size
        if len(group) > 1 or whole:
            yield [_Part(tensor, 0, tensor.size) for tensor in group]
        else:
            yield from ([_Part(group[0], at, min(at + unit, size))] for at in range(0, size, unit))


def _work(units: Sequence[Sequence[_Part]], merge: Merge, observer: Gathered | None, channel: _forks.Channel) -> None:
    news = _News(channel, observer)
    worker = Worker(merge, news.send_sometimes)
    with np.errstate(all="ignore"):  # what is not finite is found and said by the worker
        while (number := channel.next()) is not None:
            for part in units[number]:
                worker.merge(Run(part.tensor, worker.survey(part.tensor), part.start, part.stop))
                news.done += part.stop - part.start
    news.send()


@final
class _News:
    """What a worker has done and seen since it last said so.

    Saying it at every block would wake the parent as often; saying nothing for long, as in a survey, would leave a
    worker at work whose parent was killed.
    """

    def __init__(self, channel: _forks.Channel, observer: Gathered | None) -> None:
        self._channel, self._observer = channel, observer
        self._sent = time.monotonic()
        self.done = 0

    def send_sometimes(self) -> None:
        """Sends it if it is time."""
        if time.monotonic() - self._sent > _PAUSE:
            self.send()

    def send(self) -> None:
        """Sends it."""
        self._channel.send((self.done, None if self._observer is None else self._observer.take()))
        self._sent = time.monotonic()
        self.done = 0
