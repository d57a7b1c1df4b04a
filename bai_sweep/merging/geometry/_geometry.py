"""Looking on while a merge runs: sums over fixed runs of elements, the same bits whichever thread comes first."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, final

import numpy as np

from bai_sweep.merging._types import Block, TensorInfo, Tensors, Values
from bai_sweep.merging.geometry._runs import RUN, Runs
from bai_sweep.merging.geometry._summary import TensorSums, summarise
from bai_sweep.merging.geometry._sums import Layout, Room, Sums, add_up

MERGE = "merge"
"""The merge's name among the models, and the key of its figures in a summary."""


@dataclass(frozen=True)
class Seen:
    """What an observer has seen, for pickle.

    Args:
        done: Sums of whole tensors.
        rows: Sums of single runs, of tensors that were not seen whole.
        pieces: Merged values of runs that were not seen whole, by their place in the run.
    """

    done: Mapping[str, Sums]
    rows: Mapping[str, Mapping[int, Sums]]
    pieces: Mapping[tuple[str, int], Mapping[int, Values]]


@final
class Geometry:
    """An observer of a merge that measures how its models and the merge lie to each other.

    It reads the members itself, at places of its own, so that neither the engine's blocks nor its threads change a
    bit of the result; the merge is seen before it is rounded. A model that the merge does not read (weight 0) is not
    read for this either: without a base there are no task vectors.

    Args:
        tensors: All of the merge.
        values: Each member's tensors, as the engine reads them.
        members: Those that the method reads, the base first if it is one of them.
        sample: Whether to look at 1/64 to 1/32 of the elements of a large tensor instead of all.
        base: The base's name.
    """

    def __init__(
        self,
        tensors: Sequence[TensorInfo],
        values: Mapping[str, Tensors],
        members: Sequence[str],
        *,
        sample: bool = True,
        base: str = "base",
    ) -> None:
        self._tensors, self._values = tuple(tensors), values
        self._members = tuple(members)
        self._layout = Layout((*members, MERGE), based=members[0] == base)
        self._runs = {tensor.name: Runs.of(tensor.size, sample=sample) for tensor in tensors}
        self._lock = threading.Lock()
        self._rooms = threading.local()
        self._open: dict[str, tuple[Sums, set[int]]] = {}  # sums by run, and the runs that are still to come
        self._pieces: dict[tuple[str, int], dict[int, Values]] = {}  # of runs that blocks share, by their place in it
        self._done: dict[str, Sums] = {}

    def see(self, block: Block, merged: Values) -> None:
        """Takes a merged block; from any thread, in any order, each element once."""
        name, first, end = block.tensor.name, block.start, block.start + block.size
        runs = self._runs[name]
        for index in runs.within(first, end):
            start, stop = runs.start(index), runs.stop(index)
            low, high = max(start, first), min(stop, end)
            piece = merged[low - first : high - first]
            whole = piece if high - low == stop - start else self._joined(name, index, low - start, piece)
            if whole is not None:
                self._look(name, index, whole)

    def take(self) -> Seen:
        """What was seen since the last `take`, for another observer of the same merge; it is forgotten here."""
        with self._lock:
            rows = {name: _known(rows, missing) for name, (rows, missing) in self._open.items()}
            seen = Seen(self._done, rows, self._pieces)
            self._done, self._open, self._pieces = {}, {}, {}
        return seen

    def absorb(self, taken: Seen) -> None:
        """Adds what another observer of the same merge has seen; the bits are those of one that saw everything."""
        with self._lock:
            self._done |= taken.done
        for name, rows in taken.rows.items():
            for index, sums in rows.items():
                self._keep(name, index, sums)
        for (name, index), pieces in taken.pieces.items():
            for at, piece in pieces.items():
                if (whole := self._joined(name, index, at, piece)) is not None:
                    self._look(name, index, whole)

    def summary(self) -> dict[str, Any]:
        """The figures of every layer and of the whole, fit for JSON; docs/merging.md says what each is.

        Raises:
            RuntimeError: A tensor was not seen whole.
        """
        unseen = [tensor.name for tensor in self._tensors if tensor.size and tensor.name not in self._done]
        if unseen:
            raise RuntimeError(f"a summary needs the whole merge; {len(unseen)} tensors are missing, as {unseen[0]}")
        seen = [tensor for tensor in self._tensors if tensor.size]
        sums = [TensorSums(tensor, self._done[tensor.name], self._runs[tensor.name].elements) for tensor in seen]
        return summarise(self._layout, sums)

    def _joined(self, name: str, index: int, at: int, piece: Values) -> Values | None:
        """The run's merged values once all pieces of it were seen: summed in pieces they would round otherwise."""
        size = self._runs[name].stop(index) - self._runs[name].start(index)
        with self._lock:
            pieces = self._pieces.setdefault((name, index), {})
            pieces[at] = piece.copy()
            if sum(map(len, pieces.values())) < size:
                return None
            del self._pieces[name, index]
        return np.concatenate([pieces[at] for at in sorted(pieces)])

    def _look(self, name: str, index: int, merged: Values) -> None:
        room, start, size = self._room(), self._runs[name].start(index), len(merged)
        for place, member in enumerate(self._members):
            self._values[member].read(name, start, room.stored[:size])
            room.values[place, :size] = room.stored[:size]
        room.values[-1, :size] = merged
        sums = np.empty(self._layout.width, np.float64)
        with np.errstate(invalid="ignore"):  # inf - inf; a value that is not finite is the sink's to refuse
            add_up(self._layout, room, size, sums)
        self._keep(name, index, sums)

    def _keep(self, name: str, index: int, sums: Sums) -> None:
        """Stores a run's sums at its place; a tensor whose runs are all there is added up in their order."""
        count = self._runs[name].count
        with self._lock:
            rows, missing = self._open.setdefault(name, (np.empty((count, len(sums))), set(range(count))))
            rows[index] = sums
            missing.discard(index)
            if not missing:
                self._done[name] = np.add.reduce(rows, axis=0)
                del self._open[name]

    def _room(self) -> Room:
        room = getattr(self._rooms, "room", None)
        if room is None:
            room = self._rooms.room = Room(len(self._layout.models), RUN)
        return room


def _known(rows: Sums, missing: set[int]) -> dict[int, Sums]:
    """The rows that are there; a copy of each, as a view would be pickled with all of them."""
    return {index: rows[index].copy() for index in range(len(rows)) if index not in missing}
