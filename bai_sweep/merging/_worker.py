"""What one thread or process of a merge does: a tensor's blocks through the method into the sink."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from bai_sweep.merging._dtypes import first_nonfinite
from bai_sweep.merging._types import Block, Method, Observer, Sink, TensorInfo, Tensors, Values
from bai_sweep.records import UserError


@dataclass(frozen=True)
class Run:
    """Elements of one tensor, surveyed."""

    tensor: TensorInfo
    survey: object
    start: int
    stop: int


@dataclass(frozen=True)
class Merge:
    """What all workers work on."""

    values: Mapping[str, Tensors]
    method: Method
    sink: Sink
    block: int
    observer: Observer | None
    on_progress: Callable[[int], None] | None


class Worker:
    """Merges what it is given, in rooms of its own.

    Args:
        merge: What all workers work on.
        before_block: Called before each block, of a survey too; what it raises ends the work.
    """

    def __init__(self, merge: Merge, before_block: Callable[[], None]) -> None:
        self._of = merge
        self._before_block = before_block
        self._desk = _Desk(merge.values, merge.block)

    def survey(self, tensor: TensorInfo) -> object:
        """What the method has to know of the whole tensor."""
        return self._of.method.survey(tensor, _Anew(lambda: self._blocks(tensor, 0, tensor.size)))

    def merge(self, run: Run) -> None:
        """Merges a run and hands it to the observer and the sink.

        Raises:
            UserError: A member cannot be read, the merge is not finite, or the sink refuses it.
        """
        of = self._of
        for block in self._blocks(run.tensor, run.start, run.stop):
            merged = of.method.combine(block, run.survey)
            if (at := first_nonfinite(merged)) is not None:
                raise _nonfinite(block, at, float(merged[at]), of.method.members, of.values)
            if of.observer is not None:
                of.observer.see(block, merged)
            of.sink.write(run.tensor.name, block.start, merged)
            if of.on_progress is not None:
                of.on_progress(block.size)

    def _blocks(self, tensor: TensorInfo, start: int, stop: int) -> Iterator[Block]:
        desk = self._desk
        for first in range(start, stop, self._of.block):
            self._before_block()
            desk.turn_to(tensor, first, min(self._of.block, stop - first))
            yield desk


class _Desk:
    """A worker's block: its rooms stay, what it stands for moves on."""

    def __init__(self, values: Mapping[str, Tensors], block: int) -> None:
        self._values = values
        self._block = block
        self._rooms: list[Values] = []
        self._views: list[Values] = []
        self.tensor = TensorInfo("", (), "other", None)
        self.start = 0
        self.size = 0

    def turn_to(self, tensor: TensorInfo, start: int, size: int) -> None:
        """Stands for other elements from now on."""
        self.tensor = tensor
        self.start = start
        if size != self.size:
            self.size = size
            self._views = [room[:size] for room in self._rooms]

    def read(self, member: str, room: int = 0) -> Values:
        """The member's elements, in the room of this number."""
        into = self.room(room)
        self._values[member].read(self.tensor.name, self.start, into)
        return into

    def room(self, number: int) -> Values:
        """A vector of `size` elements to write to."""
        while number >= len(self._views):
            self._rooms.append(aligned(self._block))
            self._views.append(self._rooms[-1][: self.size])
        return self._views[number]


def aligned(size: int) -> Values:
    """Room for float32 values that begins where a cache line does."""
    raw = np.empty(size * 4 + 64, np.uint8)
    first = -raw.ctypes.data % 64
    return raw[first : first + size * 4].view(np.float32)


@dataclass(frozen=True)
class _Anew:
    """Blocks for a survey, which may go through them more than once (TIES does): every loop begins at the first."""

    blocks: Callable[[], Iterator[Block]]

    def __iter__(self) -> Iterator[Block]:
        return self.blocks()


def _nonfinite(
    block: Block, at: int, value: float, members: Sequence[str], values: Mapping[str, Tensors]
) -> UserError:
    """Says where the merge is not finite, and which members brought it there."""
    tensor, element = block.tensor, block.start + at
    index = ", ".join(str(part) for part in np.unravel_index(element, tensor.shape)) if tensor.shape else ""
    where = f"{tensor.name}[{index}] (element {element:,}) of the merge is {value:g}"
    found = np.empty(1, np.float32)
    wrong = []
    for member in members:
        values[member].read(tensor.name, element, found)
        if not np.isfinite(found[0]):
            wrong.append(f"{member} holds {float(found[0]):g}")
    if wrong:
        return UserError(
            f"a merge is of finite values: {where}, as {', '.join(wrong)} there; "
            "leave that model out (a weight of 0), or fetch it again"
        )
    return UserError(
        f"a merge is of finite values: {where}, though every member is finite there: it overflows float32; "
        "choose weights (or a scale) closer to 1, or leave the model with such large values out"
    )
