"""A bar on a terminal while a merge runs; elsewhere nothing, so that logs stay short."""

from __future__ import annotations

import shutil
import sys
import threading
import time
from types import TracebackType
from typing import Self, TextIO, final

REDRAW = 0.1  # seconds between two drawings
_CLEAR = "\r\x1b[K"


@final
class ProgressBar:
    """Counts merged elements, from any thread, and shows them as the bytes that are read and written for them.

    Written here rather than with rich, whose import takes as long as a tenth of a merge of three small models.

    Args:
        elements: Of the merge.
        moved: Bytes that are read and written for all of them.
        stream: Standard error unless given.
    """

    def __init__(self, elements: int, moved: int, stream: TextIO | None = None) -> None:
        self._elements, self._moved = max(1, elements), moved
        self._stream = stream or sys.stderr  # None where it was closed
        self._shown = self._stream is not None and self._stream.isatty()
        self._lock = threading.Lock()
        self._done = 0
        self._begun = self._drawn = time.monotonic()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._draw(_CLEAR)

    def advance(self, elements: int) -> None:
        """So many more are merged."""
        with self._lock:
            self._done += elements
            now = time.monotonic()
            if not self._shown or now - self._drawn < REDRAW:
                return
            self._drawn = now
            self._draw(_CLEAR + self._line(now - self._begun))

    def _draw(self, text: str) -> None:
        if not self._shown:
            return
        try:
            self._stream.write(text)
            self._stream.flush()
        except OSError:  # the terminal was closed; the merge goes on
            self._shown = False

    def _line(self, seconds: float) -> str:
        share = min(1.0, self._done / self._elements)
        rate = share * self._moved / max(seconds, 1e-9)
        left = seconds * (1 - share) / share if share else 0.0
        text = f" {share:4.0%}  {size(share * self._moved)} of {size(self._moved)}  {size(rate)}/s  ETA {left:.0f} s"
        if self._done >= self._elements:
            text += "; digests of the inputs"
        width = max(0, min(40, shutil.get_terminal_size().columns - len(text) - 10))
        full = round(share * width)
        return f"merging {'━' * full}{' ' * (width - full)}{text}"


def size(count: float) -> str:
    """Bytes for people, in powers of ten as disks are sold: `988 MB`."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if count < 999.5:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} TB"
