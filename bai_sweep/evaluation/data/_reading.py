"""Rows of a file: JSON lines (plain or gzip), parquet, or one JSON object of items."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bai_sweep.evaluation.data._types import Row
from bai_sweep.records import UserError

SUFFIXES = (".jsonl", ".jsonl.gz", ".parquet", ".json")  # the first that exists is read
_LFS = b"version https://git-lfs"


@dataclass(frozen=True)
class Table:
    """A file's rows, and where in it each of them stands ("line 7")."""

    path: Path
    rows: list[Row]
    places: list[str]


def find(folder: Path, stem: str) -> Path | None:
    """The file of that stem that is read; None if there is none."""
    return next((path for suffix in SUFFIXES if (path := folder / f"{stem}{suffix}").exists()), None)


def read(path: Path) -> Table:
    """Reads a whole file.

    Raises:
        UserError: it cannot be read, is cut off or damaged, holds something else than rows, or no row.
    """
    try:
        table = next(reader for suffix, reader in _READERS.items() if path.name.endswith(suffix))(path)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise UserError(f"{path} is no whole gzip file: cut off, damaged or of another form ({error})") from error
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror or error}") from error
    if not table.rows:
        raise UserError(f"{path} is empty")
    return table


def normalised(table: Table, normalise: Callable[[Row], Row]) -> list[Row]:
    """A table's rows in the benchmark's one schema.

    Raises:
        UserError: a row is in no known form.
    """
    rows = []
    for row, place in zip(table.rows, table.places, strict=True):
        try:
            rows.append(normalise(row))
        except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
            raise UserError(f"{table.path}, {place}: the row is in no known form ({error!r})") from error
    return rows


def _read_lines(path: Path) -> Table:
    with path.open("rb") as file:
        return _table_of_lines(path, file)


def _read_gzip(path: Path) -> Table:
    with gzip.open(path) as file:
        return _table_of_lines(path, file)


def _table_of_lines(path: Path, lines: Iterable[bytes]) -> Table:
    rows: list[Row] = []
    places: list[str] = []
    for number, line in enumerate(lines, 1):
        if line.strip():  # official readers skip blank lines
            rows.append(_row_of(line, f"{path}, line {number}"))
            places.append(f"line {number}")
    return Table(path, rows, places)


def _row_of(line: bytes, place: str) -> Row:
    try:
        row = json.loads(line.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise UserError(f"{place} is not UTF-8 text (byte {error.start + 1})") from error
    except json.JSONDecodeError as error:
        if line.startswith(_LFS):
            raise UserError(f"{place}: this is a Git LFS pointer, not the data") from error
        cut = "" if line.endswith(b"\n") else "the last line is cut off, or "
        raise UserError(f"{place}: {cut}it is not JSON ({error.msg} at column {error.colno})") from error
    if not isinstance(row, dict):
        raise UserError(f"{place}: a row is a JSON object; got {type(row).__name__}")
    return row


def _read_parquet(path: Path) -> Table:
    import pyarrow
    from pyarrow import parquet

    if path.stat().st_size == 0:
        raise UserError(f"{path} is empty")
    try:
        rows = parquet.ParquetFile(path).read().to_pylist()
    except (pyarrow.ArrowException, OSError) as error:
        raise UserError(f"{path} is not a whole parquet file ({str(error).strip().splitlines()[0]})") from error
    return Table(path, rows, [f"row {number}" for number in range(1, len(rows) + 1)])


def _read_object(path: Path) -> Table:
    """MixEval's form: {"0": item, "1": item}; each item gets its key as `id`."""
    text = path.read_bytes()
    if not text.strip():
        raise UserError(f"{path} is empty")
    try:
        items: Any = json.loads(text)
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not UTF-8 text (byte {error.start + 1})") from error
    except json.JSONDecodeError as error:
        raise UserError(
            f"{path}, line {error.lineno}: it is cut off or not JSON ({error.msg} at column {error.colno})"
        ) from error
    if not isinstance(items, dict) or not all(isinstance(item, dict) for item in items.values()):
        raise UserError(f"{path}: a .json file is one object of items by id; give a list of rows as .jsonl")
    return Table(path, [{"id": key, **item} for key, item in items.items()], [f"item {key!r}" for key in items])


_READERS = {".jsonl": _read_lines, ".jsonl.gz": _read_gzip, ".parquet": _read_parquet, ".json": _read_object}
