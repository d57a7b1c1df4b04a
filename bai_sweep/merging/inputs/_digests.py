"""SHA-256 of files."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path

from bai_sweep.merging import _forks
from bai_sweep.records import UserError

_SHA256 = re.compile(r"[0-9a-f]{64}")


def digests(files: Sequence[Path], threads: int) -> dict[Path, str]:
    """The SHA-256 of every file, hashed in `threads` threads; see `hashing`.

    Raises:
        UserError: A file cannot be read.
    """
    with hashing(files, threads) as found:
        return found()


@contextmanager
def hashing(files: Sequence[Path], workers: int, *, fork: bool = False) -> Iterator[Callable[[], dict[Path, str]]]:
    """Hashes files while the block does something else; what it gets waits for the SHA-256 of each and returns them.

    A large file of the hub's cache is a link to a blob that is named by its SHA-256: the hub gives that digest, the
    client compares it with what it downloads, and it is taken from the name. So a blob that was changed on disk
    since has its old digest here. A file that this process has hashed and that has not changed is not hashed again.

    Args:
        files: The files, each once or more often.
        workers: How many are hashed at a time, at least 1.
        fork: In processes forked from this one, which may have no other threads: a block that does not let go of
            the interpreter's lock does not hold them up.

    Raises:
        UserError: A file cannot be read; raised where the digests are asked for.
    """
    distinct = sorted(dict.fromkeys(files), key=_size, reverse=True)  # so that no worker has a large one at the end
    if fork and workers > 1 and _forks.available():

        def work(channel: _forks.Channel) -> None:
            while (number := channel.next()) is not None:
                channel.send((distinct[number], _digest(distinct[number])))

        with _forks.Crew(workers, len(distinct), work) as crew:
            yield lambda: dict(crew.messages())
        return
    pool = ThreadPoolExecutor(max(1, workers))  # hashlib works outside the interpreter's lock
    try:
        tasks = [pool.submit(_digest, file) for file in distinct]
        yield lambda: {file: task.result() for file, task in zip(distinct, tasks, strict=True)}
    finally:
        pool.shutdown(cancel_futures=True)


def _size(file: Path) -> int:
    return file.stat().st_size if file.exists() else 0


def _digest(file: Path) -> str:
    try:
        blob = file.resolve(strict=True)
        if blob.parent.name == "blobs" and _SHA256.fullmatch(blob.name):
            return blob.name
        stat = blob.stat()
        # the time of the last change to the inode, which nobody can set back as the other one
        return _hashed(blob, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino)
    except OSError as error:
        raise UserError(f"{file}: cannot be read ({error.strerror or error}); check its permissions") from error


@lru_cache(maxsize=4096)
def _hashed(file: Path, size: int, written: int, changed: int, inode: int) -> str:
    del size, written, changed, inode  # what tells a changed file from the one that was hashed
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
