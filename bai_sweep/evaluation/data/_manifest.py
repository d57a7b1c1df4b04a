"""`manifest.json` beside a benchmark's files: where each came from, and by what it is known again."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from bai_sweep.evaluation.data._files import sha256, write_whole
from bai_sweep.evaluation.data._types import Spec
from bai_sweep.records import UserError

NAME = "manifest.json"
_HASHED = 16 << 20  # bytes; of larger files a check compares only the size


@dataclass(frozen=True)
class FileRecord:
    """A file as it was fetched: SHA-256 of its bytes, their number, its rows, origin and commit or release."""

    sha256: str
    bytes: int
    rows: int
    source: str
    revision: str


@dataclass(frozen=True)
class Manifest:
    """What `fetch` wrote; `files` is by path below the benchmark's folder, `fetched` an ISO 8601 time in UTC."""

    benchmark: str
    version: str
    licence: str
    fetched: str
    files: Mapping[str, FileRecord]

    @property
    def source(self) -> str:
        """Every origin, with the commit or release taken."""
        return _joined(f"{record.source}@{record.revision}" for record in self.files.values())


def read_manifest(folder: Path) -> Manifest | None:
    """The folder's manifest; None if it has none.

    Raises:
        UserError: it is not one.
    """
    path = folder / NAME
    if not path.exists():
        return None
    try:
        known = json.loads(path.read_text(encoding="utf-8"))
        files = {name: FileRecord(**record) for name, record in known["files"].items()}
        kept = {name: known[name] for name in ("benchmark", "version", "licence", "fetched")}
    except (ValueError, TypeError, KeyError, AttributeError, OSError) as error:
        raise UserError(f"{path} is not a manifest of `fetch` ({error!r}); delete it or fetch again") from error
    return Manifest(**kept, files=files)


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Writes the manifest, whole or not at all."""
    records = manifest.files.values()
    content = {
        "benchmark": manifest.benchmark,
        "version": manifest.version,
        "source": _joined(record.source for record in records),
        "revision": _joined(record.revision for record in records),
        "fetched": manifest.fetched,
        "licence": manifest.licence,
        "files": {name: asdict(record) for name, record in manifest.files.items()},
    }
    write_whole(folder / NAME, json.dumps(content, indent=2, ensure_ascii=False) + "\n")


def record_fault(path: Path, record: FileRecord) -> str | None:
    """What differs between a file and its record; None if nothing does."""
    size = path.stat().st_size
    if size != record.bytes:
        return f"{path} has {size:,} bytes, {NAME} says {record.bytes:,}"
    if size <= _HASHED and sha256(path) != record.sha256:
        return f"{path} has another SHA-256 than {NAME} says"
    return None


def manifest_faults(spec: Spec, folder: Path, manifest: Manifest, paths: Iterable[Path]) -> list[str]:
    """Where the files that are read and the manifest disagree."""
    if (manifest.benchmark, manifest.version) != (spec.name, spec.version):
        return [
            f"{folder / NAME} is of {manifest.benchmark} {manifest.version}, this folder of {spec.name} {spec.version}"
        ]
    faults = []
    for path in paths:
        record = manifest.files.get(str(path.relative_to(folder)))
        if record is None:
            faults.append(f"{path} is not in {NAME}")
        elif fault := record_fault(path, record):
            faults.append(fault)
    hint = f" (where the change is meant, delete {NAME})"
    return [fault + hint for fault in faults]


def _joined(parts: Iterable[str]) -> str:
    return ", ".join(dict.fromkeys(parts))
