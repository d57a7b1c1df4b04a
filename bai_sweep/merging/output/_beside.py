"""A folder that is there whole or not at all: written under another name beside it, renamed when complete.

The name it is written under is locked while its process lives (the kernel drops the lock however the process ends),
so that what a killed process left is known from what a live one is writing, whatever their process ids and hosts.
"""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import secrets
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Literal

from bai_sweep.records import UserError

log = logging.getLogger(__name__)

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_MARK = ".partial-"
_LOCK = ".lock"


@contextmanager
def written_beside(folder: Path, needed: int = 0) -> Iterator[Path]:
    """An empty folder beside `folder`, which becomes it when the block ends well and is removed when it does not.

    What a killed process left beside the same folder is removed first; what a live one writes is not touched.

    Args:
        folder: Must not exist; its parents are made.
        needed: Bytes that will be written to it.

    Raises:
        UserError: The folder exists, its place cannot be written to, or the disk has not the room, before or during.
    """
    folder = folder.expanduser().absolute()
    refuse_existing(folder)
    _make_parents(folder)
    _remove_stale(folder)
    require_space(folder, needed)
    partial, lock = _locked_folder(folder)
    try:
        yield partial
        sync(partial)
        _rename(partial, folder)
    except BaseException as error:
        shutil.rmtree(partial, ignore_errors=True)
        left = f"nothing was left at {folder}" if not partial.exists() else f"remove {partial} by hand"
        if isinstance(error, UserError):
            raise UserError(f"{error}; {left}") from error
        if isinstance(error, OSError) and error.errno in _FULL:
            raise _full(error, folder, needed, left) from error
        if isinstance(error, KeyboardInterrupt):
            log.warning("stopped; %s", left)
        raise
    finally:
        os.close(lock)


def refuse_existing(folder: Path) -> None:
    """An output folder is a new one.

    Raises:
        UserError: It is there.
    """
    if os.path.lexists(folder):  # a link that leads nowhere too; no error where that cannot be known
        raise UserError(f"{folder} exists; nothing is overwritten: name another folder or remove it")


def require_space(folder: Path, needed: int) -> None:
    """There is room for `needed` bytes where `folder` will be.

    Raises:
        UserError: There is not.
    """
    place = next(parent for parent in folder.absolute().parents if parent.exists())
    free = shutil.disk_usage(place).free
    if needed > free:
        raise UserError(
            f"{folder} needs {needed:,} bytes, and the file system at {_file_system(place)} has {free:,} free: "
            "make room or write elsewhere"
        )


def disk_full(what: str, needed: int, place: Path, error: OSError) -> UserError:
    """The error of a disk, a quota or a file that could hold no more while `what` was written."""
    if error.errno == errno.EFBIG:
        return UserError(
            f"no file may be so large while writing {what}: {needed:,} bytes needed; raise the limit (ulimit -f), "
            "or write to a file system with large files"
        )
    full = "quota used up" if error.errno == errno.EDQUOT else "disk full"
    free = shutil.disk_usage(place).free
    return UserError(
        f"{full} while writing {what}: {needed:,} bytes needed, {free:,} free at {_file_system(place)}; "
        "make room or write elsewhere"
    )


def is_full(error: OSError) -> bool:
    """Whether the error says that there is no room: on the disk, in a quota, or in a file of limited size."""
    return error.errno in _FULL


def _full(error: OSError, folder: Path, needed: int, left: str) -> UserError:
    what = Path(str(error.filename)).name if error.filename else folder.name
    return UserError(f"{disk_full(what, needed, folder.parent, error)}; {left}")


def _file_system(place: Path) -> Path:
    return next(folder for folder in (place, *place.parents) if folder.is_mount())


def _make_parents(folder: Path) -> None:
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{folder.parent} cannot be made: {error.strerror}; write elsewhere") from error
    if not os.access(folder.parent, os.W_OK | os.X_OK):
        raise UserError(f"{folder.parent} cannot be written to: change its permissions or write elsewhere")


def _locked_folder(folder: Path) -> tuple[Path, int]:
    """A new folder beside `folder` and the descriptor that holds its lock."""
    while True:
        partial = folder.with_name(f"{folder.name}{_MARK}{os.getpid()}-{secrets.token_hex(3)}")
        try:
            partial.mkdir()
        except OSError as error:
            raise UserError(f"{partial} cannot be made: {error.strerror}; write elsewhere") from error
        # until it is locked, another process may take it for a dead one's and remove it
        with suppress(FileNotFoundError):
            descriptor = _open_lock(partial)
            if _lock(descriptor) != "held" and (partial / _LOCK).exists():
                return partial, descriptor
            os.close(descriptor)


def _remove_stale(folder: Path) -> None:
    for found in sorted(folder.parent.glob(f"{_escaped(folder.name)}{_MARK}*")):
        try:
            descriptor = _open_lock(found)
        except OSError:  # gone, or no folder of ours
            continue
        try:
            if (state := _lock(descriptor)) == "ours":
                log.warning("removing %s, which a merge that was killed left behind", found)
                shutil.rmtree(found, ignore_errors=True)
            else:
                fits = {"held": "another process is writing %s", "unknown": "%s may be left over: no locks there"}
                log.warning(fits[state], found)
        finally:
            os.close(descriptor)


def _escaped(name: str) -> str:
    return "".join(f"[{letter}]" if letter in "*?[" else letter for letter in name)


def _open_lock(partial: Path) -> int:
    return os.open(partial / _LOCK, os.O_RDWR | os.O_CREAT, 0o666)


def _lock(descriptor: int) -> Literal["ours", "held", "unknown"]:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return "held"
    except OSError:  # a file system without locks
        return "unknown"
    return "ours"


def sync(folder: Path) -> None:
    """Sees a folder onto the disk, which happens before its name says that it is complete."""
    places = [path for path in folder.rglob("*") if not path.is_symlink()]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(sync_file, places))
    sync_file(folder)


def sync_file(path: Path) -> None:
    """Sees a file, or a folder's list of them, onto the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _rename(partial: Path, folder: Path) -> None:
    refuse_existing(folder)
    try:
        partial.rename(folder)
    except OSError as error:
        raise UserError(f"{folder} cannot be made of {partial.name}: {error.strerror}") from error
    # not before: whoever finds no lock in a partial folder may remove it
    (folder / _LOCK).unlink()
    sync_file(folder.parent)
