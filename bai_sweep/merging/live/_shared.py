"""A file in memory that the processes of a machine share, and that is gone once none of them uses it.

Every user holds a shared lock on the file, which the kernel drops with the process, however that ends: a file whose
lock can be had exclusively has no user. Whoever stops using a file as the last one removes it, and whoever looks for
one removes what killed processes left. The lock of the folder is held for as long as it takes to look, never while a
file is filled. The folder is the user's own and closed to others: anybody may write to /dev/shm.
"""

from __future__ import annotations

import errno
import fcntl
import logging
import mmap
import os
import stat
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import final

import numpy as np

from bai_sweep.merging._types import Values

log = logging.getLogger(__name__)

SETTING = "BAI_SWEEP_HELD"
"""The environment variable with the folder to hold stage 1 in; `off` holds none."""

_MAKING = ".making"
_SHARE = 4
"""A held file takes at most this part of the memory that is free: the trials need the rest."""
_RESERVE = 2**30
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.ENOMEM)


@final
class Shared:
    """A filled file that this process uses until `release`."""

    def __init__(self, root: Path, name: str, descriptor: int) -> None:
        """Takes over a descriptor that holds the shared lock."""
        self._root = root
        self._name = name
        self._descriptor = descriptor
        self._process = os.getpid()
        self._values: Values | None = None

    def values(self) -> Values:
        """Its content, mapped for reading; all pages at once, as a fault for each would cost more than the reading."""
        if self._values is None:
            flags = mmap.MAP_SHARED | getattr(mmap, "MAP_POPULATE", 0)
            size = os.fstat(self._descriptor).st_size
            mapped = mmap.mmap(self._descriptor, size, flags=flags, prot=mmap.PROT_READ)
            self._values = np.frombuffer(mapped, np.float32)
        return self._values

    def release(self) -> None:
        """Ends this process's use; the last user removes the file. A forked child leaves it to its parent."""
        if self._descriptor < 0 or self._process != os.getpid():
            return
        self._values = None
        with _folder(self._root, make=False) as folder:
            if folder is not None and _is_free(self._descriptor):
                folder.remove(self._name, self._descriptor)
        # the mapping has a duplicate of the descriptor, which would keep the lock
        fcntl.flock(self._descriptor, fcntl.LOCK_UN)
        os.close(self._descriptor)
        self._descriptor = -1


def obtain(name: str, size: int, fill: Callable[[int], None] | None) -> Shared | None:
    """The file of this name, made now if there is none.

    Args:
        name: Says what is in it: two files of one name have the same content.
        size: In bytes, above 0.
        fill: Writes all of it to the descriptor it gets; None takes only what is there.

    Returns:
        None where there is no room, where `BAI_SWEEP_HELD` is off, or while another process fills the file: to wait
        for it would take as long as to do without.
    """
    roots = _roots()
    for root in roots:
        with _folder(root, make=False) as folder:
            if folder is None:
                continue
            folder.sweep(keep=name)
            if (descriptor := folder.take(name, size)) is not None:
                return Shared(root, name, descriptor)
            if folder.has(name + _MAKING):
                return None
    if fill is None:
        return None
    for root in roots:
        if _has_room(root, size):
            return _make(root, name, fill)
    log.info("stage 1 is not held: there is no room for %.1f GB in %s", size / 1e9, roots or "memory (it is off)")
    return None


def sweep() -> None:
    """Removes what killed processes left."""
    for root in _roots():
        with suppress(OSError), _folder(root, make=False) as folder:
            if folder is not None:
                folder.sweep(keep=None)


def _roots() -> list[Path]:
    setting = os.environ.get(SETTING, "")
    if setting.lower() == "off":
        return []
    if setting:
        return [Path(setting)]
    return [root for root in (Path("/dev/shm"), Path(tempfile.gettempdir())) if root.is_dir()]


def _make(root: Path, name: str, fill: Callable[[int], None]) -> Shared | None:
    with _folder(root, make=True) as folder:
        descriptor = None if folder is None else folder.begin(name + _MAKING)
    if descriptor is None:
        return None
    try:
        fill(descriptor)
    except BaseException as error:
        with _folder(root, make=False) as folder:
            if folder is not None:
                folder.remove(name + _MAKING, descriptor)
        os.close(descriptor)
        if isinstance(error, OSError) and error.errno in _NO_ROOM:
            log.info("stage 1 is not held: %s has no room for it", root)
            return None
        raise
    with _folder(root, make=False) as folder:
        if folder is None:  # somebody has removed it by hand
            os.close(descriptor)
            return None
        folder.rename(name + _MAKING, name)
        fcntl.flock(descriptor, fcntl.LOCK_SH)
    return Shared(root, name, descriptor)


@dataclass(frozen=True)
class _Folder:
    """The user's folder, locked."""

    descriptor: int

    def has(self, name: str) -> bool:
        return name in _names(self.descriptor)

    def take(self, name: str, size: int) -> int | None:
        """A descriptor of a whole file with the lock of a user."""
        descriptor = self._open(name)
        if descriptor is None:
            return None
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        if os.fstat(descriptor).st_size == size:
            return descriptor
        os.close(descriptor)
        return None

    def begin(self, name: str) -> int | None:
        """A new file's descriptor with the lock of its maker; None if another makes it."""
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        try:
            descriptor = os.open(name, flags, 0o600, dir_fd=self.descriptor)
        except FileExistsError:
            return None
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return descriptor

    def rename(self, old: str, new: str) -> None:
        os.rename(old, new, src_dir_fd=self.descriptor, dst_dir_fd=self.descriptor)

    def remove(self, name: str, descriptor: int) -> None:
        """The file, if it is the one of the descriptor still."""
        with suppress(FileNotFoundError):
            found = os.stat(name, dir_fd=self.descriptor, follow_symlinks=False)
            if os.path.samestat(found, os.fstat(descriptor)):
                os.unlink(name, dir_fd=self.descriptor)

    def sweep(self, keep: str | None) -> None:
        """Removes every file but `keep` that nobody uses."""
        for name in _names(self.descriptor):
            if name != keep and (descriptor := self._open(name)) is not None:
                if _is_free(descriptor):
                    self.remove(name, descriptor)
                os.close(descriptor)

    def _open(self, name: str) -> int | None:
        try:
            return os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=self.descriptor)
        except FileNotFoundError:
            return None


@contextmanager
def _folder(root: Path, *, make: bool) -> Iterator[_Folder | None]:
    """The folder, locked; None where there is none, or where it is not ours alone. It goes once it is empty."""
    path = root / f"bai-sweep-{os.geteuid()}"
    descriptor = _locked(path, make=make)
    if descriptor is None:
        yield None
        return
    try:
        yield _Folder(descriptor)
    finally:
        if not _names(descriptor):
            with suppress(OSError):
                path.rmdir()
        os.close(descriptor)


def _locked(path: Path, *, make: bool) -> int | None:
    while True:
        try:
            if make:
                with suppress(FileExistsError):
                    path.mkdir(0o700)
            descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except FileNotFoundError:
            if make and path.parent.is_dir():
                continue  # removed in between
            return None
        except OSError as error:
            log.warning("stage 1 is not held in %s: it has to be a folder of this user's (%s)", path, error.strerror)
            return None
        found = os.fstat(descriptor)
        if found.st_uid != os.geteuid() or stat.S_IMODE(found.st_mode) & 0o077:
            log.warning("stage 1 is not held in %s: it is another user's folder, or open to others", path)
            os.close(descriptor)
            return None
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        if os.fstat(descriptor).st_nlink:
            return descriptor
        os.close(descriptor)  # removed while we waited


def _names(descriptor: int) -> list[str]:
    return os.listdir(descriptor)


def _is_free(descriptor: int) -> bool:
    """Whether nobody else uses the file; the lock is ours then."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _has_room(root: Path, size: int) -> bool:
    try:
        free = os.statvfs(root)
    except OSError:
        return False
    if free.f_bavail * free.f_frsize < size + _RESERVE:
        return False
    available = _available()
    return available is None or size * _SHARE <= available or not _is_memory(root)


def _is_memory(root: Path) -> bool:
    """Whether files there take memory that cannot be written to a disk."""
    mounts = [line.split()[1:3] for line in Path("/proc/self/mounts").read_text(encoding="utf-8").splitlines()]
    above = {str(place) for place in (root.resolve(), *root.resolve().parents)}
    kinds = {place: kind for place, kind in mounts if place in above}  # of two on one place the later is on top
    return kinds[max(kinds, key=len)] in ("tmpfs", "ramfs") if kinds else False


def _available() -> int | None:
    """Bytes of memory that could be had now."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")), None)
