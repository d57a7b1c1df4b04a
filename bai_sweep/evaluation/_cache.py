"""A model's answers, kept as they come: a run that was broken off goes on, a repeated one asks nothing twice.

One SQLite file for each model. A key is the digest of all that decides an answer besides the weights: the prompt's
tokens, how they are continued, and what ends them. A change of a task's wording, of the tokenizer or of a setting is
another key; how an answer is scored is not part of it, since scoring is done anew each time.
"""

from __future__ import annotations

import hashlib
import json
import logging
import sqlite3
import struct
from array import array
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from bai_sweep.records import UserError

log = logging.getLogger(__name__)

VERSION = 1  # of keys and values; a change of sampling that changes answers raises it
_AT_ONCE = 500  # keys in one query
_PATIENCE = 60.0  # seconds to wait for another process that writes


def key_of(kind: str, tokens: Sequence[int], **settings: Any) -> bytes:
    """The key of a request: its kind, its prompt's tokens, and everything that its answer depends on."""
    text = json.dumps([VERSION, kind, list(tokens), settings], sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).digest()


def seed_of(seed: int, tokens: Sequence[int], repeat: int) -> int:
    """A seed of its own for each sampled answer, whatever else is asked in the same run."""
    text = json.dumps([seed, repeat, list(tokens)], separators=(",", ":"))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1  # torch takes 63 bits


class ResponseCache:
    """The answers of one model.

    Args:
        path: Of the file; its folder is made. A file that is not what it should be is set aside with a warning.

    Raises:
        UserError: The folder or file cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._connection = self._opened()
        except (OSError, sqlite3.OperationalError) as error:
            raise UserError(
                f"answers are kept in evaluation.cache_dir, and {path} cannot be written ({error}); name another"
            ) from error

    @property
    def name(self) -> str:
        """The model's, as the file has it."""
        return self._path.stem

    def _opened(self) -> sqlite3.Connection:
        try:
            return _connect(self._path)
        except sqlite3.OperationalError:
            raise
        except sqlite3.DatabaseError as error:
            self._set_aside(error)
            return _connect(self._path)

    def _set_aside(self, error: sqlite3.Error) -> None:
        aside = self._path.with_suffix(".broken")
        log.warning("%s is broken (%s); it is set aside as %s and answers are asked anew", self._path, error, aside)
        self._path.replace(aside)

    def texts(self, keys: Iterable[bytes]) -> dict[bytes, list[int]]:
        """The token ids of the answers that are known."""
        return {key: array("q", value).tolist() for key, value in self._found(keys)}

    def scores(self, keys: Iterable[bytes]) -> dict[bytes, tuple[float, bool]]:
        """(log-probability, greedy?) of those that are known."""
        return {key: struct.unpack("<d?", value) for key, value in self._found(keys)}

    def keep_texts(self, answers: Mapping[bytes, Sequence[int]]) -> None:
        """Keeps answers as token ids; they are on disk when this returns."""
        self._keep((key, array("q", tokens).tobytes()) for key, tokens in answers.items())

    def keep_scores(self, answers: Mapping[bytes, tuple[float, bool]]) -> None:
        """Keeps log-likelihoods."""
        self._keep((key, struct.pack("<d?", *answer)) for key, answer in answers.items())

    def close(self) -> None:
        """Lets go of the file."""
        self._connection.close()

    def _found(self, keys: Iterable[bytes]) -> list[tuple[bytes, bytes]]:
        wanted = list(dict.fromkeys(keys))
        found: list[tuple[bytes, bytes]] = []
        try:
            for start in range(0, len(wanted), _AT_ONCE):
                part = wanted[start : start + _AT_ONCE]
                marks = ",".join("?" * len(part))
                found += self._connection.execute(f"SELECT key, value FROM answers WHERE key IN ({marks})", part)
        except sqlite3.OperationalError:
            raise
        except sqlite3.DatabaseError as error:  # a page in the middle of the file
            self._connection.close()
            self._set_aside(error)
            self._connection = _connect(self._path)
        return found

    def _keep(self, rows: Iterable[tuple[bytes, bytes]]) -> None:
        try:
            with self._connection:
                self._connection.executemany("INSERT OR REPLACE INTO answers VALUES (?, ?)", rows)
        except sqlite3.DatabaseError as error:  # a full disk, say: the evaluation goes on, only a repetition is dearer
            log.warning("answers could not be kept in %s: %s", self._path, error)


def _connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, timeout=_PATIENCE)
    connection.execute("PRAGMA synchronous=NORMAL")
    with connection:
        connection.execute("CREATE TABLE IF NOT EXISTS answers (key BLOB PRIMARY KEY, value BLOB) WITHOUT ROWID")
    return connection
