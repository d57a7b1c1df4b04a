r"""The process that runs math-verify: one JSON line in, one digit out. A script, started by _process.py.

It reads what a model wrote, so it holds nothing and may do nothing: memory is limited, each comparison has its own
limit of processor and wall time whose signal ends the process wherever it is, and once everything is loaded, files for
writing, processes and sockets are refused. Its reply can say yes or no and nothing else.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import resource
import signal
import sys
from typing import Any

_DECIMAL = re.compile(r"\d+\.\d+")
_PRODUCT = re.compile(r"(?<=[\d)])(?=\()")
_REFUSED = ("subprocess.", "socket.", "shutil.", "ctypes.", "pty.", "webbrowser.", "urllib.", "ftplib.", "smtplib.")
_READING = {"os.listdir", "os.scandir", "os.walk"}  # what an import does
_STATM = "/proc/self/statm"


def main() -> None:
    """Serves comparisons until its input ends, or it has used so much memory that a new process should go on.

    Its arguments are the two amounts in bytes: what it may use, and what is enough.
    """
    memory, enough = map(int, sys.argv[1:])
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    replies = os.dup(1)
    statm = os.open(_STATM, os.O_RDONLY) if os.path.exists(_STATM) else None  # noqa: PTH110
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    _same(r"\frac{x}{2}-\sqrt{2}", r"\frac{1}{2}x-2^{\frac{1}{2}}")  # loads what comparisons load
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    sys.addaudithook(_refuse)
    os.write(replies, b"ready\n")
    for line in sys.stdin.buffer:
        request = json.loads(line)
        _limit(request["seconds"])
        same = _answer(request["candidate"], request["reference"])
        _limit(0.0)
        os.write(replies, b"1\n" if same else b"0\n")
        if _resident(statm) > enough:
            return  # libraries catch MemoryError and answer no: the next comparison is to have all of the memory


def _resident(statm: int | None) -> int:
    """Bytes in memory now, where the system tells; its record of the most begins with what the parent had."""
    return 0 if statm is None else int(os.pread(statm, 256, 0).split()[1]) * resource.getpagesize()


def _limit(seconds: float) -> None:
    """Both signals' default is to end the process, in C code as well."""
    signal.setitimer(signal.ITIMER_PROF, seconds)
    signal.setitimer(signal.ITIMER_REAL, 3.0 * seconds)


def _answer(candidate: str, reference: str) -> bool:
    try:
        return _same(candidate, reference)
    except Exception:  # noqa: BLE001 # a parser and a simplifier raise anything on what is no mathematics
        return False


def _same(candidate: str, reference: str) -> bool:
    from math_verify import verify

    theirs, ours = _parsed(reference), _parsed(candidate)
    return bool(theirs and ours and verify(theirs[0], ours[0], timeout_seconds=None, raise_on_error=True))


def _parsed(latex: str) -> list[Any]:
    """What math-verify makes of it: nothing where it is no mathematics.

    Decimals become fractions, or a rounding of six digits would decide; `2(3)` becomes a product, or it is read as the
    mixed number 2 + 3.
    """
    from latex2sympy2_extended import NormalizationConfig
    from math_verify import LatexExtractionConfig, parse

    exact = _DECIMAL.sub(lambda m: f"\\frac{{{m[0].replace('.', '')}}}{{1{'0' * len(m[0].partition('.')[2])}}}", latex)
    form = LatexExtractionConfig(
        boxed_match_priority=-1,
        normalization_config=NormalizationConfig(basic_latex=True, malformed_operators=True, boxed="none"),
    )
    product = _PRODUCT.sub(r" \\cdot ", exact)
    options = {"fallback_mode": "no_fallback", "parsing_timeout": None, "raise_on_error": True}
    found: list[Any] = parse(f"${product}$", [form], **options)
    return found


def _refuse(event: str, args: tuple[Any, ...]) -> None:
    changes = event.startswith("os.") and event not in _READING
    writes = event == "open" and isinstance(args[2], int) and args[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
    if changes or writes or event.startswith(_REFUSED):
        raise PermissionError(f"a comparison does not need {event}")


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt, BrokenPipeError):
        main()
