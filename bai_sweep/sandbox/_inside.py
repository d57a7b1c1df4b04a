"""Runs inside the isolation, by `python -c`: gives up what is left of privilege, then runs the program in a child.

Self-contained (standard library only), as nothing of the project is visible there. Arguments, all numbers but the
last two: isolated (0 or 1), report descriptor, length of the program, then cpu_seconds, memory_bytes, processes,
scratch_bytes, then the folder of packages and the filter of system calls in hexadecimal. The program comes first on
stdin, its own stdin after it. On the report descriptor, which the program does not have: `begun`, then `exit N` or
`signal N` for the program's end.
"""

from __future__ import annotations

import builtins
import ctypes
import os
import resource
import select
import signal
import sys

NOBODY = 65534
MEMORY_SIGNAL = signal.SIGRTMAX  # the program ran out of address space and did not catch it
_SET_PDEATHSIG, _SET_DUMPABLE, _SET_SECCOMP, _CAPBSET_DROP = 1, 4, 22, 24  # linux/prctl.h
_SET_CHILD_SUBREAPER, _SET_NO_NEW_PRIVS = 36, 38
_SECCOMP_MODE_FILTER = 2
_CLONE_NEWUSER = 0x10000000
_CAPABILITY_VERSION_3 = 0x20080522
_LAST_CAPABILITY = 63  # the kernel refuses numbers that it does not know

_libc = ctypes.CDLL(None, use_errno=True)


def checked(result: int) -> int:
    """Raises the OSError of a C call that failed."""
    if result == -1:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result


def prctl(option: int, value: int = 0, pointer: object = None) -> None:
    """prctl(2) with `unsigned long` arguments."""
    zero = ctypes.c_ulong(0)
    checked(_libc.prctl(option, ctypes.c_ulong(value), pointer or zero, zero, zero))


def leave_root() -> None:
    """From the host's root to nobody, in a user namespace of this run's own.

    The user must be another than root on the host too: RLIMIT_NPROC does not bind root. In a namespace of its own the
    limit counts this run's processes and not those of other runs (Linux 5.14).
    """
    os.setgroups([])
    os.setresgid(NOBODY, NOBODY, NOBODY)
    os.setresuid(NOBODY, NOBODY, NOBODY)
    checked(_libc.unshare(_CLONE_NEWUSER))


def drop_capabilities() -> None:
    """All sets empty. A new user namespace gives its creator all of them within it."""
    for capability in range(_LAST_CAPABILITY + 1):
        _libc.prctl(_CAPBSET_DROP, ctypes.c_ulong(capability), 0, 0, 0)  # fails where there is none to drop
    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION_3, 0)
    checked(_libc.capset(header, (ctypes.c_uint32 * 6)()))


def limit(kind: int, soft: int, hard: int | None = None) -> None:
    """A hard limit, or the lower one that is set; `hard` None: as `soft`."""
    hard = soft if hard is None else hard
    _, given = resource.getrlimit(kind)
    if given != resource.RLIM_INFINITY:
        soft, hard = min(soft, given), min(hard, given)
    resource.setrlimit(kind, (soft, hard))


def set_limits(cpu_seconds: int, memory_bytes: int, scratch_bytes: int) -> None:
    """Those that hold for each process by itself."""
    limit(resource.RLIMIT_CORE, 0)
    limit(resource.RLIMIT_NOFILE, 128)
    limit(resource.RLIMIT_CPU, cpu_seconds, cpu_seconds + 1)  # SIGXCPU, which names the reason, then SIGKILL
    limit(resource.RLIMIT_FSIZE, scratch_bytes)
    limit(resource.RLIMIT_AS, memory_bytes)


def install_filter(code: bytes) -> None:
    """seccomp: see _seccomp.py."""

    class Program(ctypes.Structure):
        _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_char_p))

    program = Program(len(code) // 8, code)
    prctl(_SET_SECCOMP, _SECCOMP_MODE_FILTER, ctypes.byref(program))


def supervise(child: int, report: int, isolated: bool) -> None:
    """Waits for the program and says how it ended. The death of this process, the first of its namespace, ends all.

    It also ends when nobody reads the report any more. A parent's death alone may send no signal: bubblewrap's outer
    process has given up the right to send one to another user.
    """
    died, wake = os.pipe()
    os.set_blocking(wake, False)
    signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda number, frame: None)
    events = select.poll()
    events.register(died, select.POLLIN)
    events.register(report, 0)  # POLLERR needs no asking
    while reap(child, report, isolated):
        if report in dict(events.poll()):
            os.killpg(0, signal.SIGKILL)  # without isolation; the first process of a namespace gets no such signal
            os._exit(1)
        os.read(died, 4096)


def reap(child: int, report: int, isolated: bool) -> bool:
    """Takes leave of all that have died; False: it is time to end."""
    try:
        while True:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                return True
            if pid == child:
                code = os.waitstatus_to_exitcode(status)
                os.write(report, b"exit %d\n" % code if code >= 0 else b"signal %d\n" % -code)
                if isolated:
                    return False
    except ChildProcessError:
        return False  # without isolation: all that the program left behind has been killed


def read_exactly(length: int) -> bytes:
    """From stdin without buffering: what follows is the program's own."""
    parts = []
    while length and (part := os.read(0, length)):
        parts.append(part)
        length -= len(part)
    return b"".join(parts)


def run_program(source: bytes, packages: str) -> None:
    """As a `__main__` of its own. An exception ends this interpreter as it ends any other."""
    import _sitebuiltins  # exit() and quit() come with site, which is left out for speed

    builtins.exit = _sitebuiltins.Quitter("exit", "Ctrl-D (i.e. EOF)")
    builtins.quit = _sitebuiltins.Quitter("quit", "Ctrl-D (i.e. EOF)")
    sys.path.append(packages)
    sys.argv = ["program.py"]
    main = type(sys)("__main__")
    main.__dict__["__builtins__"] = builtins
    sys.modules["__main__"] = main
    try:
        exec(compile(source, "program.py", "exec"), main.__dict__)
    except MemoryError:
        os.kill(os.getpid(), MEMORY_SIGNAL)


def main() -> None:
    """Prepares, forks, and goes separate ways."""
    isolated, report, length, cpu_seconds, memory_bytes, processes, scratch_bytes = map(int, sys.argv[1:8])
    packages, code = sys.argv[8:10]
    os.umask(0o077)
    if isolated:
        if os.geteuid() == 0:
            leave_root()
        drop_capabilities()
        os.chdir("/tmp")
    else:
        prctl(_SET_CHILD_SUBREAPER, 1)
    prctl(_SET_PDEATHSIG, signal.SIGKILL)  # a change of user has cleared it
    prctl(_SET_NO_NEW_PRIVS, 1)
    set_limits(cpu_seconds, memory_bytes, scratch_bytes)
    if isolated:
        limit(resource.RLIMIT_NPROC, processes + 1)  # and this one
        install_filter(bytes.fromhex(code))
    os.write(report, b"begun\n")
    child = os.fork()
    if child:
        prctl(_SET_DUMPABLE, 0)  # closes /proc/1 of the sandbox to the program
        os.close(0)
        supervise(child, report, bool(isolated))
        os._exit(0)
    os.close(report)
    prctl(_SET_PDEATHSIG, signal.SIGKILL)  # does not pass to a child
    run_program(read_exactly(length), packages)


if __name__ == "__main__":
    main()
