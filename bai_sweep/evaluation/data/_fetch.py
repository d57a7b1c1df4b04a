"""Fills a folder for machines without a network: each file whole, checked and recorded, or not there at all."""

from __future__ import annotations

import fcntl
import json
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from bai_sweep.evaluation.data._files import git_blob, sha256
from bai_sweep.evaluation.data._inspect import inspect_file
from bai_sweep.evaluation.data._manifest import FileRecord, Manifest, read_manifest, record_fault, write_manifest
from bai_sweep.evaluation.data._places import folder_of, spec_of
from bai_sweep.evaluation.data._reading import find, read
from bai_sweep.evaluation.data._transport import ONLINE, UNKNOWN, Transport
from bai_sweep.evaluation.data._types import DataFile, HubRows, RawFile, Spec
from bai_sweep.records import UserError

_TEMPORARY = ".fetching"
REJECTED = ".rejected"  # added to the name of a file that was in the way


def _quiet(message: str) -> None:
    """Reports nothing."""


def fetch(
    benchmarks: Sequence[str],
    data_dir: Path,
    *,
    on_progress: Callable[[str], None] = _quiet,
    transport: Transport | None = None,
) -> None:
    """Gets benchmarks from the hub and from their official repositories, laid out as `load` reads them.

    A file that is there and agrees with the manifest, or has none and passes its check, is kept; one that is there
    and does neither is moved aside as `<name>.rejected`. A file appears under its name only after its check, so
    that a fetch which was interrupted goes on. Of two fetches of one folder the second waits.

    Args:
        benchmarks: names of `BENCHMARKS`.
        data_dir: the folder with all benchmarks; made if need be.
        on_progress: gets a line for each file.
        transport: how data is got; None is the network.

    Raises:
        UserError: no such benchmark, no network, or data that fails its check.
    """
    for spec in [spec_of(name) for name in benchmarks]:
        folder = folder_of(spec, data_dir)
        folder.mkdir(parents=True, exist_ok=True)
        with _alone(folder):
            _Fetching(spec, folder, on_progress, transport or ONLINE).run()


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    with (folder / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # the kernel gives it back however the process ends
        yield


@dataclass(frozen=True)
class _Fetching:
    spec: Spec
    folder: Path
    on_progress: Callable[[str], None]
    transport: Transport

    def run(self) -> None:
        records = self._known()
        for number, file in enumerate(self.spec.files, 1):
            name, how = self._kept(file, records), "is there"
            if name is None:
                name = self._fetch_file(file, records)
                how = f"fetched from {records[name].source}"
            total = len(self.spec.files)
            self.on_progress(f"{self.spec.title}: {name} ({number} of {total}), {records[name].rows:,} rows, {how}")
        self._check_across(records)

    def _known(self) -> dict[str, FileRecord]:
        shutil.rmtree(self.folder / _TEMPORARY, ignore_errors=True)
        try:
            manifest = read_manifest(self.folder)
        except UserError as error:
            self.on_progress(f"{error}; it is written anew")
            return {}
        same = manifest is not None and (manifest.benchmark, manifest.version) == (self.spec.name, self.spec.version)
        return dict(manifest.files) if manifest is not None and same else {}

    def _kept(self, file: DataFile, records: dict[str, FileRecord]) -> str | None:
        """The name of the file that is there and stays; what may not stay is moved aside."""
        while path := find(self.folder, file.stem):
            if self._may_stay(file, path, records):
                return str(path.relative_to(self.folder))
            self._reject(path, records)
        return None

    def _may_stay(self, file: DataFile, path: Path, records: dict[str, FileRecord]) -> bool:
        """Whether a file is as recorded; one that is not recorded is adopted if it is the official one."""
        name = str(path.relative_to(self.folder))
        if name in records:
            return record_fault(path, records[name]) is None
        findings = inspect_file(self.spec, file, path)
        if findings.broken or findings.lacking:
            return False
        records[name] = _record(path, len(findings.rows), "found in place", UNKNOWN)
        self._write(records)
        return True

    def _reject(self, path: Path, records: dict[str, FileRecord]) -> None:
        aside = path.with_name(path.name + REJECTED)
        self.on_progress(f"{self.spec.title}: {path.name} is not what was recorded or official; moved to {aside}")
        path.replace(aside)
        records.pop(str(path.relative_to(self.folder)), None)

    def _fetch_file(self, file: DataFile, records: dict[str, FileRecord]) -> str:
        """Gets a file, and returns its path below the folder."""
        source = file.sources[0]
        name = file.stem + (source.suffix if isinstance(source, RawFile) else ".jsonl")
        temporary, final = self.folder / _TEMPORARY / name, self.folder / name
        temporary.parent.mkdir(parents=True, exist_ok=True)
        final.parent.mkdir(parents=True, exist_ok=True)
        try:
            if isinstance(source, RawFile):
                revision = self._download(source, temporary)
            else:
                revision = self._write_rows(file, temporary, records)
            findings = inspect_file(self.spec, file, temporary)
            if faults := (*findings.broken, *findings.lacking):
                raise UserError(f"what {source} gave is not {self.spec.title}: {faults[0]}; nothing was kept")
            records[name] = _record(temporary, len(findings.rows), str(source), revision)
            self._write(records)  # before the file, which would else be one of unknown origin after a crash
            temporary.replace(final)
        finally:
            shutil.rmtree(self.folder / _TEMPORARY, ignore_errors=True)
        return name

    def _download(self, source: RawFile, path: Path) -> str:
        self.transport.download(source.url, path)
        if source.blob and (blob := git_blob(path)) != source.blob:
            raise UserError(f"{source.url} gave other bytes than the official file (git id {blob}); nothing was kept")
        return source.revision

    def _write_rows(self, file: DataFile, path: Path, records: Mapping[str, FileRecord]) -> str:
        revisions = []
        with path.open("w", encoding="utf-8") as out:
            for source in (source for source in file.sources if isinstance(source, HubRows)):
                rows, revision = self.transport.hub_rows(_at_known_revision(source, records))
                revisions.append(revision)
                for row in map(self.spec.normalise, rows):
                    out.write(json.dumps(row, ensure_ascii=False, default=str) + "\n")
        return ", ".join(dict.fromkeys(revisions))

    def _check_across(self, records: dict[str, FileRecord]) -> None:
        paths = {file.key: path for file in self.spec.files if (path := find(self.folder, file.stem))}
        tables = {key: [self.spec.normalise(row) for row in read(path).rows] for key, path in paths.items()}
        for key, fault in self.spec.across(tables).items():
            self._reject(paths[key], records)
            self._write(records)
            raise UserError(f"{paths[key]}: {fault}; fetch {self.spec.name} again")

    def _write(self, records: Mapping[str, FileRecord]) -> None:
        now = datetime.now(UTC).isoformat(timespec="seconds")
        manifest = Manifest(self.spec.name, self.spec.version, self.spec.licence, now, dict(records))
        write_manifest(self.folder, manifest)


def _at_known_revision(source: HubRows, records: Mapping[str, FileRecord]) -> HubRows:
    """A fetch that goes on takes the commit with which it began."""
    begun = [
        record.revision for record in records.values() if record.source == str(source) and record.revision != UNKNOWN
    ]
    return replace(source, revision=begun[0]) if begun and source.revision is None else source


def _record(path: Path, rows: int, source: str, revision: str) -> FileRecord:
    return FileRecord(sha256(path), path.stat().st_size, rows, source, revision)
