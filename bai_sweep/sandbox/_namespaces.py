# Importing pathlib and contextlib would take a third of the start.
# ruff: noqa: PTH102, PTH103, PTH106, PTH112, PTH114, PTH115, PTH120, PTH123, PTH211, SIM105
"""Makes namespaces and a root file system without bubblewrap, by `python -c`; self-contained as _inside.py is.

Arguments: size of the scratch folder, the binds as lines (source, target, source, ...), then _inside.py's source and
its arguments. Needs Linux 5.12 (mount_setattr). What stays behind is a process outside of the namespaces that waits
for the first one inside.
"""

from __future__ import annotations

import ctypes
import os
import signal
import struct
import sys

NOBODY = 65534
PROCESSES = 6  # place of the limit among _inside.py's arguments
_NEWNS, _NEWCGROUP, _NEWUTS, _NEWIPC = 0x20000, 0x02000000, 0x04000000, 0x08000000  # linux/sched.h
_NEWUSER, _NEWPID, _NEWNET = 0x10000000, 0x20000000, 0x40000000
_NOSUID, _NODEV, _NOEXEC, _BIND, _REC, _PRIVATE = 2, 4, 8, 4096, 16384, 1 << 18  # linux/mount.h
_RDONLY = 1
_DETACH = 2
_SYS_MOUNT_SETATTR, _AT_FDCWD, _AT_RECURSIVE = 442, -100, 0x8000
_SYS_PIVOT_ROOT = {"x86_64": 155, "aarch64": 41}
_SET_PDEATHSIG, _SET_DUMPABLE = 1, 4
_INODES = 16384  # of the scratch folder: an empty file takes kernel memory that its size does not count

_libc = ctypes.CDLL(None, use_errno=True)


def checked(result: int, what: str) -> None:
    """Raises the OSError of a C call that failed."""
    if result == -1:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), what)


def mount(source: str, target: str, kind: str | None, flags: int, options: str | None = None) -> None:
    """mount(2)."""
    encoded = [None if text is None else text.encode() for text in (source, target, kind, options)]
    checked(_libc.mount(*encoded[:3], ctypes.c_ulong(flags), encoded[3]), f"mount {source} on {target}")


def make_read_only(target: str, flags: int, attributes: int) -> None:
    """mount_setattr(2): adds attributes and keeps those that a user namespace may not take off."""
    wanted = struct.pack("QQQQ", attributes, 0, 0, 0)
    result = _libc.syscall(_SYS_MOUNT_SETATTR, _AT_FDCWD, target.encode(), flags, wanted, len(wanted))
    checked(result, f"read-only {target}")


def enter() -> bool:
    """New namespaces. Root needs no user namespace for it, and leaves its privileges inside (see _inside.py).

    Root without CAP_SYS_ADMIN, as in a container, becomes nobody and goes the way of every other user: the user
    inside is nobody, which is this user outside.

    Returns:
        Whether a user namespace was made, in which this process then counts towards RLIMIT_NPROC.
    """
    others = _NEWNS | _NEWCGROUP | _NEWUTS | _NEWIPC | _NEWPID | _NEWNET
    if os.geteuid() == 0:
        if _libc.unshare(others) == 0:
            return False
        os.setgroups([])
        os.setresgid(NOBODY, NOBODY, NOBODY)
        os.setresuid(NOBODY, NOBODY, NOBODY)
        _libc.prctl(_SET_DUMPABLE, ctypes.c_ulong(1))  # the change of user closed /proc/self to this process
    user, group = os.geteuid(), os.getegid()
    checked(_libc.unshare(_NEWUSER | others), "unshare")
    for name, text in (("setgroups", "deny"), ("uid_map", f"{NOBODY} {user} 1"), ("gid_map", f"{NOBODY} {group} 1")):
        with open(f"/proc/self/{name}", "w") as file:
            file.write(text)
    return True


def die_with_parent() -> None:
    """A change of user clears it, so this comes after."""
    zero = ctypes.c_ulong(0)
    _libc.prctl(_SET_PDEATHSIG, ctypes.c_ulong(signal.SIGKILL), zero, zero, zero)


def bind(source: str, target: str) -> None:
    """Read-only, without devices and set-user-id, at the same place below the new root. A link is copied as one."""
    os.makedirs(os.path.dirname(target), exist_ok=True)
    if os.path.islink(source):
        os.symlink(os.readlink(source), target)
        return
    if os.path.isdir(source):
        os.makedirs(target, exist_ok=True)
    else:
        os.close(os.open(target, os.O_CREAT | os.O_WRONLY))
    mount(source, target, None, _BIND | _REC)
    if not target.startswith("/dev/"):
        make_read_only(target, _AT_RECURSIVE, _RDONLY | _NOSUID | _NODEV)


def build_root(scratch_bytes: int, binds: list[tuple[str, str]]) -> None:
    """A tmpfs becomes the root, gets the binds from the old one, then the old one goes and it is read-only."""
    mount("none", "/", None, _REC | _PRIVATE)
    mount("tmpfs", "/tmp", "tmpfs", _NOSUID | _NODEV, "size=1m,mode=755")
    os.mkdir("/tmp/old")
    checked(_libc.syscall(_SYS_PIVOT_ROOT[os.uname().machine], b"/tmp", b"/tmp/old"), "pivot_root")
    os.chdir("/")
    os.mkdir("/tmp")
    mount("tmpfs", "/tmp", "tmpfs", _NOSUID | _NODEV, f"size={scratch_bytes},nr_inodes={_INODES},mode=1777")
    for source, target in binds:
        bind(f"/old{source}", target)
    os.symlink("/tmp", "/dev/shm")
    os.mkdir("/proc")
    try:
        mount("proc", "/proc", "proc", _NOSUID | _NODEV | _NOEXEC)
    except OSError:
        pass  # a container that masks parts of its own /proc may not mount a whole one: the program gets none
    checked(_libc.umount2(b"/old", _DETACH), "umount the old root")
    os.rmdir("/old")
    make_read_only("/", 0, _RDONLY | _NOSUID | _NODEV)


def main() -> None:
    """The outer process enters the namespaces and waits; its child, the first of the new pid namespace, goes on."""
    paths = sys.argv[2].split("\n")
    os.umask(0o022)
    counted = enter()
    die_with_parent()
    child = os.fork()
    if child:
        os._exit(0 if os.waitpid(child, 0)[1] == 0 else 1)
    die_with_parent()
    build_root(int(sys.argv[1]), list(zip(paths[::2], paths[1::2], strict=True)))
    sys.argv = sys.argv[3:]
    sys.argv[PROCESSES] = str(int(sys.argv[PROCESSES]) + counted)
    exec(compile(sys.argv[0], "_inside.py", "exec"), {"__name__": "__main__"})


if __name__ == "__main__":
    main()
