"""Facts about a file that do not need its rows: digests, its state on disk, and replacing it at once."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

_CHUNK = 1 << 20


def sha256(path: Path) -> str:
    """Of the file's bytes, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def git_blob(path: Path) -> str:
    """The id git gives the file's content, by which a file of an official commit is known."""
    digest = hashlib.sha1(f"blob {path.stat().st_size}\0".encode(), usedforsecurity=False)
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def state(path: Path) -> tuple[str, int, int]:
    """Path, size in bytes and time of the last change in ns: what a verdict on the file holds for."""
    stat = path.stat()
    return str(path), stat.st_size, stat.st_mtime_ns


def write_whole(path: Path, text: str) -> None:
    """Writes a file under a temporary name and renames it: readers see the old file or the new one."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with temporary.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
