"""The strongest isolation that a host offers, found by running a program that tries to get out."""

from __future__ import annotations

import json
import shutil
import sys
from functools import cache

from bai_sweep.records import UserError
from bai_sweep.sandbox import _levels, _tree
from bai_sweep.sandbox._records import Limits
from bai_sweep.sandbox._run import SetupError
from bai_sweep.sandbox._sandbox import Sandbox
from bai_sweep.sandbox._seccomp import supported

LEVELS = tuple(_levels.LEVELS)
_STRONG = ("bubblewrap", "namespaces")
_HOW_TO = (
    "install bubblewrap (`apt-get install bubblewrap`), allow user namespaces (in a container: --security-opt "
    "seccomp=unconfined, or run it where they are allowed), or accept programs with this user's rights by "
    "evaluation.isolation=process"
)

_PROBE = """
import json, os, socket, time
found = {"root": os.geteuid() == 0, "files": os.path.exists("/etc/passwd")}
try:
    socket.socket(socket.AF_INET, socket.SOCK_DGRAM).connect(("192.0.2.1", 9))  # sends nothing: asks for a route
    found["network"] = True
except OSError:
    found["network"] = False
try:
    for _ in range(8):
        if not os.fork():
            time.sleep(5)
            os._exit(0)
    found["processes"] = True
except OSError:
    found["processes"] = False
try:
    import numpy
    found["no numpy"] = False
except ImportError as error:
    found["no numpy"] = str(error)
print(json.dumps(found), flush=True)
"""


def open_sandbox(level: str = "auto") -> Sandbox:
    """Opens the sandbox of a level, each of which is tried once in a process by a real run.

    Args:
        level: `auto` takes the first of `bubblewrap` and `namespaces` that works; either may be named; `process`,
            which is no isolation (see `_levels.process`), has to be.

    Raises:
        UserError: No such level, or the host does not offer it; says what was tried and why it failed.
    """
    if level not in ("auto", *LEVELS):
        raise UserError(f"an isolation level is one of auto, {', '.join(LEVELS)}; got {level!r}")
    tried = {name: _failure(name) for name in (_STRONG if level == "auto" else (level,))}
    for name, failure in tried.items():
        if failure is None:
            return Sandbox(name)
    reasons = "; ".join(f"{name}: {failure}" for name, failure in tried.items())
    raise UserError(
        f"generated programs run only apart from this host, and it offers no way to ({reasons}); {_HOW_TO}"
    )


@cache
def _failure(level: str) -> str | None:
    """Why a level does not work here; None: it does."""
    if not sys.platform.startswith("linux"):
        return f"needs Linux, this is {sys.platform}"
    if not _tree.supported():
        return "the kernel lists no children of processes (CONFIG_PROC_CHILDREN), so that memory cannot be watched"
    if level in _STRONG and not supported():
        return "the system calls to filter are known for x86_64 and aarch64 only"
    if level == "bubblewrap" and shutil.which("bwrap") is None:
        return "no bwrap on PATH"
    try:
        return _complaint(level)
    except SetupError as error:
        return f"could not be set up: {error}"


def _complaint(level: str) -> str | None:
    outcome = Sandbox(level).run(_PROBE, limits=Limits(seconds=20.0, processes=4 if level in _STRONG else 16))
    try:
        found = json.loads(outcome.stdout)
    except ValueError:
        return f"a trial run ended as {outcome.status}: {outcome.stderr.decode(errors='replace').strip()[-500:]}"
    open_ways = [name for name, value in found.items() if value and (level in _STRONG or name == "no numpy")]
    return f"a trial run found {', '.join(open_ways)}" if open_ways else None
