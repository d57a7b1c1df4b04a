"""Merged values into safetensors files, in any order and from any thread."""

from __future__ import annotations

import ctypes
import errno
import os
import threading
from collections.abc import Callable
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from bai_sweep.merging._dtypes import ENDS, narrow, storage
from bai_sweep.merging._types import BLOCK, Dtype, Values
from bai_sweep.merging.output._beside import disk_full, is_full
from bai_sweep.merging.output._shards import INDEX, SIZES, Layout
from bai_sweep.records import UserError


class FileSink:
    """The files of a layout: their heads are written at once, the tensors as they come.

    The bytes of an element depend on its value only, not on the layout, the pieces, or the thread.
    """

    def __init__(self, folder: Path, layout: Layout, dtype: Dtype) -> None:
        """Makes the files at their full size.

        Raises:
            UserError: The disk has not the room.
        """
        if dtype not in ENDS:
            raise UserError(f"a merge is written as float32, bfloat16 or float16; got {dtype}")
        self._folder = folder
        self._layout = layout
        self._dtype: Dtype = dtype
        self._files: dict[str, int] = {}
        self._own = threading.local()
        try:
            self._open()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Closes the files."""
        while self._files:
            os.close(self._files.popitem()[1])

    def write(self, name: str, start: int, values: Values) -> None:
        """Rounds the values and stores them from element `start` on.

        Raises:
            UserError: A value is not finite in the sink's dtype, or the disk is full.
        """
        place = self._layout.places[name]
        rounded = self._room(values.size)
        if not narrow(values, self._dtype, rounded):
            raise self._not_finite(name, start, values)
        self._store(place.file, place.offset + start * SIZES[self._dtype], rounded.data.cast("B"))

    def write_bytes(self, name: str, data: bytes) -> None:
        """Stores a whole tensor that is not merged.

        Raises:
            UserError: The disk is full.
        """
        place = self._layout.places[name]
        self._store(place.file, place.offset, memoryview(data))

    def _open(self) -> None:
        for shard in self._layout.shards:
            path = self._folder / shard.file
            try:
                self._files[shard.file] = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)
                _allocate(self._files[shard.file], shard.size)
            except OSError as error:
                raise self._fault(error, shard.file) from error
            self._store(shard.file, 0, memoryview(shard.head))
        if (index := self._layout.index()) is not None:
            (self._folder / INDEX).write_text(index, encoding="utf-8")

    def _store(self, file: str, offset: int, data: memoryview) -> None:
        try:
            while data:
                written = os.pwrite(self._files[file], data, offset)
                data, offset = data[written:], offset + written
        except OSError as error:
            raise self._fault(error, file) from error

    def _fault(self, error: OSError, file: str) -> UserError:
        if is_full(error):
            return disk_full(file, self._layout.size, self._folder, error)
        if error.errno == errno.EMFILE:
            return UserError(
                f"{file} cannot be written: all {len(self._layout.shards)} files of the model are open at once, and "
                "this process may open no more; raise the limit (ulimit -n) or max_shard_size"
            )
        return UserError(f"{file} cannot be written: {error.strerror}; write elsewhere")

    def _not_finite(self, name: str, start: int, values: Values) -> UserError:
        at = int(np.flatnonzero(~(np.abs(values) < ENDS[self._dtype]))[0])
        where = f"{name}, element {start + at:,}"
        if np.isfinite(values[at]):
            return UserError(
                f"{where}: {float(values[at]):g} is beyond what {self._dtype} holds; write it as dtype=bfloat16"
            )
        return UserError(f"{where} is {float(values[at])}; a model with values that are not finite is not written")

    def _room(self, size: int) -> NDArray[Any]:
        room: NDArray[Any] | None = getattr(self._own, "room", None)
        if room is None or room.size < size:
            room = self._own.room = np.empty(max(size, BLOCK), storage(self._dtype))
        return room[:size]


def _allocate(descriptor: int, size: int) -> None:
    """Blocks for the whole file at once: writes into them cost half as much, and a full disk shows now."""
    if (fallocate := _fallocate()) is None:
        os.ftruncate(descriptor, size)
        return
    if size and fallocate(descriptor, 0, 0, size) != 0:
        code = ctypes.get_errno()
        if code not in (errno.EOPNOTSUPP, errno.ENOSYS, errno.EINTR):
            raise OSError(code, os.strerror(code))
        os.ftruncate(descriptor, size)


@cache
def _fallocate() -> Callable[[int, int, int, int], int] | None:
    """The system call; `os.posix_fallocate` would write to every block where a file system lacks it."""
    try:
        function = ctypes.CDLL(None, use_errno=True).fallocate64
    except (OSError, AttributeError):
        return None
    function.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64)
    found: Callable[[int, int, int, int], int] = function
    return found
