"""The tensors of safetensors files, read in pieces without mapping a file or holding a tensor."""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Self

import numpy as np
from numpy.typing import NDArray

from bai_sweep.merging._dtypes import storage, widen
from bai_sweep.merging._types import Dtype, TensorSpec, Values
from bai_sweep.merging.inputs._header import FLOATS, Stored
from bai_sweep.merging.inputs._layout import tensors_in, tensors_of
from bai_sweep.records import UserError

# of one thread: a block of 16-bit numbers, which a core's cache holds beside its float32 values
_BUFFER = 262144

_Mark = tuple[int, int, int, int]
"""What tells a file from another, or from itself before it was written to."""


class Checkpoint:
    """A `Tensors` over the safetensors files of one model; a context manager, as it keeps the files open.

    Args:
        tensors: Where they are.

    Raises:
        UserError: A file cannot be opened.
    """

    def __init__(self, tensors: Mapping[str, Stored]) -> None:
        self._tensors = dict(tensors)
        self.specs: Mapping[str, TensorSpec] = MappingProxyType({n: t.spec for n, t in self._tensors.items()})
        self.files: tuple[Path, ...] = tuple(dict.fromkeys(tensor.file for tensor in self._tensors.values()))
        self._descriptors: dict[Path, int] = {}
        self._marks: dict[Path, _Mark] = {}
        self._rooms = threading.local()
        try:
            for file in self.files:
                self._descriptors[file] = os.open(file, os.O_RDONLY | os.O_CLOEXEC)
                self._marks[file] = _mark(os.fstat(self._descriptors[file]))
        except OSError as error:
            self.close()
            raise UserError(f"{error.filename}: cannot be read ({error.strerror}); check its permissions") from error

    @classmethod
    def of(cls, folder: Path, source: str | None = None) -> Self:
        """The weights of a model folder, one file or shards.

        Args:
            folder: The folder.
            source: How the user named it, for messages.

        Raises:
            UserError: It holds no safetensors, or broken ones.
        """
        return cls(tensors_of(folder, source or str(folder)))

    @classmethod
    def of_files(cls, files: Sequence[Path]) -> Self:
        """The tensors of these files.

        Raises:
            UserError: A file is broken, or a tensor is in two of them.
        """
        return cls(tensors_in(list(files)))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Closes the files; no thread may be reading."""
        while self._descriptors:
            os.close(self._descriptors.popitem()[1])

    @property
    def stored(self) -> Mapping[str, Stored]:
        """Where each tensor is."""
        return MappingProxyType(self._tensors)

    @property
    def other(self) -> Mapping[str, TensorSpec]:
        """Those of `specs` that hold no floating numbers: counters, masks. `raw` reads them, `read` does not."""
        return {name: spec for name, spec in self.specs.items() if spec.dtype not in FLOATS}

    def read(self, name: str, start: int, into: Values) -> None:
        """Fills `into` with the elements from `start` on, converted to float32 (float64 is rounded to it).

        Raises:
            UserError: The file cannot be read, or ends early.
        """
        tensor = self._tensors[name]
        dtype = _float(name, tensor)
        if start < 0 or start + into.size > tensor.spec.size:
            raise ValueError(f"{name} has {tensor.spec.size} elements; {start} to {start + into.size} were asked for")
        if dtype == "F32" and into.flags.c_contiguous:
            self._fill(tensor, 4 * start, into.view(np.uint8))
            return
        stored = storage(dtype)
        room = self._room()
        step = room.size // stored.itemsize
        for first in range(0, into.size, step):
            part = into[first : first + step]
            piece = room[: part.size * stored.itemsize]
            self._fill(tensor, (start + first) * stored.itemsize, piece)
            widen(piece.view(stored), dtype, part)

    def raw(self, name: str) -> bytes:
        """A tensor's bytes as they are in the file: for the small ones that are copied, not merged.

        Raises:
            UserError: The file cannot be read, or ends early.
        """
        tensor = self._tensors[name]
        found = np.empty(tensor.nbytes, np.uint8)
        self._fill(tensor, 0, found)
        return found.tobytes()

    def changed(self) -> Path | None:
        """A file that was written to, replaced or removed since it was opened; what was read of it may be of both."""
        for file, before in self._marks.items():
            try:
                now = _mark(file.stat())
            except OSError:
                return file
            if now != before:
                return file
        return None

    def _room(self) -> NDArray[np.uint8]:
        """This thread's buffer."""
        room: NDArray[np.uint8] | None = getattr(self._rooms, "buffer", None)
        if room is None:
            room = self._rooms.buffer = np.empty(_BUFFER, np.uint8)
        return room

    def _fill(self, tensor: Stored, start: int, into: NDArray[np.uint8]) -> None:
        """Reads bytes of a tensor; the kernel may give fewer than asked for, at the end of a file it gives none."""
        descriptor = self._descriptors.get(tensor.file)
        if descriptor is None:
            raise ValueError(f"{tensor.file} was closed")
        position, done = tensor.offset + start, 0
        while done < into.size:
            try:
                got = os.preadv(descriptor, [into.data[done:]], position + done)
            except OSError as error:
                raise UserError(f"{tensor.file}: reading failed ({error.strerror}); check the disk") from error
            if not got:
                raise UserError(
                    f"{tensor.file}: the file ends at byte {position + done}, in the middle of a tensor; it was "
                    "changed while it was read: fetch it again, and let nothing write to it"
                )
            done += got


def _mark(status: os.stat_result) -> _Mark:
    # a program can set the time of the last write back, that of the last change to the inode it cannot
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino


def _float(name: str, tensor: Stored) -> Dtype:
    for dtype in FLOATS:
        if dtype == tensor.spec.dtype:
            return dtype
    raise UserError(
        f"floating tensors are merged; {name} in {tensor.file} is {tensor.spec.dtype}: copy or leave it out"
    )
