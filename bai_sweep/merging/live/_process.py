"""What a process keeps of its last merge, for the next alpha."""

from __future__ import annotations

import atexit
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import final

from bai_sweep.config import ModelConfig
from bai_sweep.merging.live._opened import Opened
from bai_sweep.merging.live._shared import sweep
from bai_sweep.merging.live._way import BASE


@final
class _Kept:
    """The last merges and the lock of their users."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        # of the base with SFT models, which may hold a stage 1, and of the others: an alpha of 0 or 1 among many
        # does not cost the stage 1
        self.merges: dict[bool, Opened] = {}

    def forget(self, kind: bool) -> None:
        """Closes one."""
        if (merge := self.merges.pop(kind, None)) is not None:
            merge.close()


_kept = _Kept()


@contextmanager
def opened(model: ModelConfig, read: tuple[str, ...]) -> Iterator[Opened]:
    """A merge of these members; it stays open for the next alpha, until another takes its place.

    Raises:
        UserError: A checkpoint cannot be read, or they do not fit together.
    """
    kind = BASE in read and len(read) > 1
    with _kept.lock:
        merge = _kept.merges.get(kind)
        if merge is None or not merge.is_for(model, read):
            _kept.forget(kind)
            merge = _kept.merges[kind] = Opened(model, read)
        yield merge


def release() -> None:
    """Frees what this process holds, and what processes that were killed have left in shared memory."""
    with _kept.lock:
        _kept.forget(True)
        _kept.forget(False)
    sweep()


atexit.register(release)
