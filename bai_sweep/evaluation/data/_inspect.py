"""What is in a benchmark's folder: its faults, what it lacks, and how many rows count."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from bai_sweep.evaluation.data import _manifest
from bai_sweep.evaluation.data._files import git_blob, state
from bai_sweep.evaluation.data._kinds import fault_of_columns
from bai_sweep.evaluation.data._places import spec_of
from bai_sweep.evaluation.data._reading import Table, find, normalised, read
from bai_sweep.evaluation.data._types import DataFile, Row, Spec
from bai_sweep.records import UserError

_NAMED = 3  # faults of a file that are said one by one


@dataclass(frozen=True)
class FileFindings:
    """What is wrong with a file, what it lacks of the official one, its rows, and how many of them count."""

    broken: tuple[str, ...]
    lacking: tuple[str, ...]
    rows: list[Row]
    count: int


@dataclass(frozen=True)
class Findings:
    """The same of a whole benchmark.

    Args:
        broken: what no use of the data can forgive.
        lacking: rows and files of the official release that are not there; partial data may lack them.
        counts: rows that count, by key.
        paths: the files that are read, by key.
        source: where the files came from, as the manifest says.
    """

    broken: tuple[str, ...]
    lacking: tuple[str, ...]
    counts: Mapping[str, int]
    paths: Mapping[str, Path]
    source: str


def inspect(spec: Spec, folder: Path) -> Findings:
    """Reads a benchmark's files once; asked again in the same process, only whether they changed."""
    paths = {file.key: path for file in spec.files if (path := find(folder, file.stem))}
    manifest = folder / _manifest.NAME
    watched = [*paths.values(), *([manifest] if manifest.exists() else [])]
    return _inspect(spec.name, folder, tuple(state(path) for path in watched))


@lru_cache(maxsize=64)
def _inspect(benchmark: str, folder: Path, states: tuple[tuple[str, int, int], ...]) -> Findings:
    """`states` is only a key: the verdict holds for these sizes and times."""
    spec = spec_of(benchmark)
    paths = {file.key: path for file in spec.files if (path := find(folder, file.stem))}
    found = {file.key: inspect_file(spec, file, paths[file.key]) for file in spec.files if file.key in paths}
    broken = [fault for findings in found.values() for fault in findings.broken]
    absent, torn = _absent(spec, folder, paths)
    broken += torn
    if not broken:
        tables = {key: findings.rows for key, findings in found.items()}
        broken += [f"{paths[key]}: {fault}" for key, fault in spec.across(tables).items()]
    source, disagreements = _manifest_of(spec, folder, paths)
    return Findings(
        broken=(*disagreements, *broken),
        lacking=(*absent, *(fault for findings in found.values() for fault in findings.lacking)),
        counts={key: findings.count for key, findings in found.items()},
        paths=paths,
        source=source,
    )


def _manifest_of(spec: Spec, folder: Path, paths: Mapping[str, Path]) -> tuple[str, list[str]]:
    try:
        manifest = _manifest.read_manifest(folder)
    except UserError as error:
        return "local files", [str(error)]
    if manifest is None:
        return "local files", []
    return manifest.source, _manifest.manifest_faults(spec, folder, manifest, paths.values())


def _absent(spec: Spec, folder: Path, paths: Mapping[str, Path]) -> tuple[list[str], list[str]]:
    """Files of groups of which nothing is there, and files missing from groups of which something is."""
    begun = {file.group for file in spec.files if file.key in paths}
    missing = [file for file in spec.files if file.key not in paths]
    said = {True: list[str](), False: list[str]()}
    for file in missing:
        said[file.group in begun].append(f"there is no {folder / _official_name(file)}")
    return said[False], said[True]


def _official_name(file: DataFile) -> str:
    suffix = getattr(file.sources[0], "suffix", ".jsonl")
    return f"{file.stem}{suffix}"


def inspect_file(spec: Spec, file: DataFile, path: Path) -> FileFindings:
    """Reads and checks one file."""
    try:
        table = read(path)
        if foreign := next((name for name in file.foreign if name in table.rows[0]), None):
            return FileFindings((f"{path}: column {foreign}: {file.foreign[foreign]}",), (), [], len(table.rows))
        rows = normalised(table, spec.normalise)
    except UserError as error:
        return FileFindings((str(error),), (), [], 0)
    faults = _row_faults(file, table, rows)
    if not faults and file.other_blobs and (other := file.other_blobs.get(git_blob(path))):
        faults = [f"{path} is the file of {other}, not of {spec.title}"]
    if faults:
        return FileFindings(tuple(faults), (), rows, len(rows))
    count = sum(map(file.counted, rows)) if file.counted else len(rows)
    broken, lacking = _count_faults(spec, file, path, count)
    return FileFindings(broken, lacking, rows, count)


def _row_faults(file: DataFile, table: Table, rows: Sequence[Row]) -> list[str]:
    faults = [
        f"{table.path}, {place}: {fault}"
        for place, row in zip(table.places, rows, strict=True)
        if (fault := fault_of_columns(row, file.columns) or (file.rule(row) if file.rule else None))
    ]
    if not faults and file.identity:
        faults = _duplicates(file.identity, table, rows)
    if len(faults) > _NAMED:
        more = len(faults) - _NAMED
        return [*faults[:_NAMED], f"and {more:,} more {'row' if more == 1 else 'rows'} of {table.path}"]
    return faults


def _duplicates(identity: str, table: Table, rows: Sequence[Row]) -> list[str]:
    values = [row[identity] for row in rows]
    twice = {value for value, count in Counter(values).items() if count > 1}
    first: dict[object, str] = {}
    faults = []
    for value, place in zip(values, table.places, strict=True):
        if value in twice and first.setdefault(value, place) != place:
            faults.append(f"{table.path}, {place}: column {identity} is unique; {value!r} is also in {first[value]}")
    return faults


def _count_faults(spec: Spec, file: DataFile, path: Path, count: int) -> tuple[tuple[str, ...], tuple[str, ...]]:
    if count == file.rows:
        return (), ()
    fault = f"{path} has {count:,} rows, the file of {spec.title} {file.rows:,}"
    if other := file.other_counts.get(count):
        fault += f"; {count:,} rows are {other}"
    # a subset has fewer rows, and at least one
    return ((), (fault,)) if 0 < count < file.rows else ((fault,), ())
