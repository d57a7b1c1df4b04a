"""What each isolation level starts: a command that ends in _inside.py with its arguments."""

from __future__ import annotations

import math
import os
import shutil
from collections.abc import Callable
from functools import cache
from pathlib import Path

from bai_sweep.sandbox._host import DEVICES, Host
from bai_sweep.sandbox._records import Limits
from bai_sweep.sandbox._seccomp import seccomp_filter

_HERE = Path(__file__).parent
Level = Callable[[Host, Limits, int, int], list[str]]
"""From the host, the limits, the report descriptor and the program's length to the command."""


def bubblewrap(host: Host, limits: Limits, report: int, length: int) -> list[str]:
    """bubblewrap makes namespaces and root.

    Where this process is root, it does so without a user namespace and hands on the two capabilities with which
    _inside.py becomes nobody: in a namespace that root makes, nobody inside is root outside, whom RLIMIT_NPROC does
    not bind.
    """
    user = ["--cap-drop", "ALL", "--cap-add", "CAP_SETUID", "--cap-add", "CAP_SETGID"]
    if os.geteuid() != 0:
        user = ["--unshare-user", "--uid", "65534", "--gid", "65534", "--cap-drop", "ALL"]
    targets = [Path(target) for target in (*(target for _, target in host.binds), *DEVICES)]
    parents = sorted({str(up) for target in targets for up in target.parents} - {"/", "/tmp"})
    folders = [argument for folder in parents for argument in ("--perms", "0755", "--dir", folder)]  # else as outside
    files = [argument for bind in host.binds for argument in _bound(*bind)]
    devices = [argument for device in DEVICES for argument in ("--dev-bind", device, device)]
    return [
        shutil.which("bwrap") or "bwrap",
        *("--unshare-ipc", "--unshare-pid", "--unshare-net", "--unshare-uts", "--unshare-cgroup-try"),
        *("--die-with-parent", "--as-pid-1", "--new-session"),
        *user,
        *("--perms", "1777", "--size", str(limits.scratch_bytes), "--tmpfs", "/tmp"),
        *folders,
        *files,
        *devices,
        *("--symlink", "/tmp", "/dev/shm", "--proc", "/proc", "--remount-ro", "/", "--chdir", "/tmp", "--"),
        *_inside(host, limits, report, length, isolated=True),
    ]


def namespaces(host: Host, limits: Limits, report: int, length: int) -> list[str]:
    """The same by _namespaces.py, for hosts without bubblewrap."""
    binds = "\n".join(path for bind in [*host.binds, *((d, d) for d in DEVICES)] for path in bind)
    inside = _inside(host, limits, report, length, isolated=True)
    script = inside.index(_source("_inside.py"))  # run by the interpreter that has made the namespaces
    return host.command(_source("_namespaces.py"), limits.scratch_bytes, binds, *inside[script:])


def process(host: Host, limits: Limits, report: int, length: int) -> list[str]:
    """A plain child process: own session, empty environment, temporary current folder, limits on each process.

    This is no isolation. A program at this level has this user's rights: it reads and writes this user's files and
    the memory and environment of this user's processes, uses the network, signals other processes, and may leave
    processes behind when it kills the one that watches over it. Where the user is root, it is root. Sizes of single
    files are bounded, their sum is not. It is for programs that are wrong, not for hostile ones.
    """
    return _inside(host, limits, report, length, isolated=False)


LEVELS: dict[str, Level] = {"bubblewrap": bubblewrap, "namespaces": namespaces, "process": process}


def _inside(host: Host, limits: Limits, report: int, length: int, *, isolated: bool) -> list[str]:
    cpu, memory = math.ceil(limits.cpu_seconds), limits.memory_bytes
    numbers = (int(isolated), report, length, cpu, memory, limits.processes, limits.scratch_bytes)
    packages = host.packages if isolated else host.own_packages
    return host.command(_source("_inside.py"), *numbers, packages, seccomp_filter().hex() if isolated else "")


def _bound(source: str, target: str) -> tuple[str, str, str]:
    if Path(source).is_symlink():
        return "--symlink", str(Path(source).readlink()), target
    return "--ro-bind", source, target


@cache
def _source(name: str) -> str:
    return (_HERE / name).read_text(encoding="utf-8")
