"""The most memory that a process has had."""

from __future__ import annotations

import re
import resource
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

_STATUS = Path("/proc/self/status")


class PeakMemory:
    """Bytes at most since it was made: on a GPU those of tensors, else the whole process's (RSS, since its start)."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        if device.type == "cuda":
            import torch

            torch.cuda.reset_peak_memory_stats(device)

    def read(self) -> float:
        """The peak so far."""
        if self.device.type == "cuda":
            import torch

            return float(torch.cuda.max_memory_allocated(self.device))
        return process_peak()


def process_peak() -> float:
    """Bytes of this process's memory at most.

    Not getrusage where Linux says it otherwise: there a process starts with the peak of the one that started it.
    """
    if _STATUS.is_file() and (found := re.search(r"VmHWM:\s*(\d+) kB", _STATUS.read_text(encoding="ascii"))):
        return float(found[1]) * 1024
    unit = 1 if sys.platform == "darwin" else 1024
    return float(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss) * unit
