"""What a benchmark's data is, as data: its files, their columns and counts, and where they come from."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

Row = dict[str, Any]
Tables = Mapping[str, list[Row]]


@dataclass(frozen=True)
class Kind:
    """What a column may hold: a name for messages and a predicate."""

    name: str
    holds: Callable[[Any], bool]


@dataclass(frozen=True)
class Column:
    """A column of a file; an optional one is checked where it is present."""

    name: str
    kind: Kind
    optional: bool = False


@dataclass(frozen=True)
class HubRows:
    """Rows of a split on the Hugging Face hub.

    Args:
        repo: dataset id.
        config: configuration; None is the default one.
        split: name of the split.
        revision: commit; None takes the newest and records which that was.
        where: column and value of the rows that belong to the file; None takes all.
    """

    repo: str
    config: str | None
    split: str
    revision: str | None = None
    where: tuple[str, str] | None = None

    def __str__(self) -> str:
        return f"huggingface.co/datasets/{self.repo}"


@dataclass(frozen=True)
class RawFile:
    """A file taken as it is from a URL.

    Args:
        url: address, with the commit or release in it.
        revision: that commit or release.
        blob: git's id of the content, which a download must have; None where it is not known.
        suffix: of the file it becomes.
    """

    url: str
    revision: str
    blob: str | None
    suffix: str

    def __str__(self) -> str:
        return self.url


Source = HubRows | RawFile


@dataclass(frozen=True)
class DataFile:
    """One file of a benchmark.

    Args:
        key: under which `load` returns its rows.
        stem: path below the benchmark's folder, without suffix.
        columns: of each row, after normalisation.
        sources: what the file is made of, in order.
        rows: the official count.
        identity: column whose values are unique; None where the official file has none.
        rule: says what is wrong between a row's columns; None if nothing is.
        counted: which rows `rows` counts (LiveBench's files hold several releases); None counts all.
        group: files of one group stand or fall together; partial data may lack whole groups.
        other_counts: row counts by which another version is known, with its name.
        other_blobs: git ids of the content by which another version is known, with its name.
        foreign: columns by which another form of the data is known, with what to do.
    """

    key: str
    stem: str
    columns: tuple[Column, ...]
    sources: tuple[Source, ...]
    rows: int
    identity: str | None = None
    rule: Callable[[Row], str | None] | None = None
    counted: Callable[[Row], bool] | None = None
    group: str = ""
    other_counts: Mapping[int, str] = field(default_factory=dict)
    other_blobs: Mapping[str, str] = field(default_factory=dict)
    foreign: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Spec:
    """A benchmark's data.

    Args:
        name: the benchmark's, as `load` takes it.
        title: the benchmark's, as people write it.
        folder: below `data_dir`.
        version: official release or date.
        licence: of the data.
        files: all of the official release.
        normalise: brings a row of any known form (hub, official file) into the one that `load` returns.
        across: faults between files, by the key of the file that is at fault.
    """

    name: str
    title: str
    folder: str
    version: str
    licence: str
    files: tuple[DataFile, ...]
    normalise: Callable[[Row], Row] = lambda row: row
    across: Callable[[Tables], Mapping[str, str]] = lambda tables: {}


@dataclass(frozen=True)
class DataVersion:
    """Which data a run was scored on.

    Args:
        benchmark: name as `load` takes it.
        version: official release or date that the data was checked against.
        source: where it came from with its commit, as the manifest says; "local files" without one.
        rows: of each file present, those that count.
        digest: SHA-256 over the files' keys and bytes, in hexadecimal.
        partial: whether rows or files of the official release are missing.
    """

    benchmark: str
    version: str
    source: str
    rows: Mapping[str, int]
    digest: str
    partial: bool
