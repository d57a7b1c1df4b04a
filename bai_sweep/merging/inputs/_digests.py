"""SHA-256 of files."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path

from bai_sweep.records import UserError

_SHA256 = re.compile(r"[0-9a-f]{64}")


def digests(files: Sequence[Path], threads: int) -> dict[Path, str]:
    """The SHA-256 of every file, hashed in `threads` threads (hashlib works outside the interpreter's lock).

    A large file of the hub's cache is a link to a blob that is named by its SHA-256: the hub gives that digest, the
    client compares it with what it downloads, and it is taken from the name. So a blob that was changed on disk
    since has its old digest here. A file that this process has hashed and that has not changed is not hashed again.

    Raises:
        UserError: A file cannot be read.
    """
    distinct = list(dict.fromkeys(files))
    with ThreadPoolExecutor(max(1, threads)) as pool:
        return dict(zip(distinct, pool.map(_digest, distinct), strict=True))


def _digest(file: Path) -> str:
    try:
        blob = file.resolve(strict=True)
        if blob.parent.name == "blobs" and _SHA256.fullmatch(blob.name):
            return blob.name
        stat = blob.stat()
        return _hashed(blob, stat.st_size, stat.st_mtime_ns, stat.st_ino)
    except OSError as error:
        raise UserError(f"{file}: cannot be read ({error.strerror or error}); check its permissions") from error


@lru_cache(maxsize=4096)
def _hashed(file: Path, size: int, changed: int, inode: int) -> str:
    del size, changed, inode  # what tells a changed file from the one that was hashed
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
