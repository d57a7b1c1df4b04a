"""What a run may use, and how it ended."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Status = Literal["ok", "failed", "timeout", "memory", "output", "killed"]


@dataclass(frozen=True)
class Limits:
    """What one run may use.

    Args:
        seconds: Wall time from the start of the process, the interpreter's start included.
        cpu_seconds: CPU time, of each process and of all together.
        memory_bytes: Address space of each process, and resident memory of all together with the scratch folder.
        processes: Processes and threads at one time, the program's first included.
        output_bytes: Of stdout and stderr together.
        scratch_bytes: Files of the scratch folder together; without isolation, each of them by itself.
    """

    seconds: float = 10.0
    cpu_seconds: float = 10.0
    memory_bytes: int = 1 << 30
    processes: int = 16
    output_bytes: int = 1 << 20
    scratch_bytes: int = 64 << 20


@dataclass(frozen=True)
class Outcome:
    """How a run ended and what it wrote. What it wrote is hostile data: parse it strictly, never evaluate it.

    Args:
        status: `ok`: exit code 0; `failed`: another exit code; `timeout`: wall or CPU time; `memory`; `output`:
            it wrote more than it may; `killed`: by a signal that none of these limits sent.
        exit_code: Of the program, None where it was killed.
        stdout: At most `Limits.output_bytes` together with stderr.
        stderr: As stdout.
        seconds: Wall time from the start of the process to its end.
    """

    status: Status
    exit_code: int | None
    stdout: bytes
    stderr: bytes
    seconds: float
