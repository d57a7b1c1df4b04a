"""Whether a benchmark's data can be scored on, and which it is; imports neither torch nor datasets nor lm-eval."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

from bai_sweep.evaluation.data._files import state
from bai_sweep.evaluation.data._inspect import Findings, inspect
from bai_sweep.evaluation.data._places import command, folder_of, resolve, spec_of
from bai_sweep.evaluation.data._transport import hub_is_off
from bai_sweep.evaluation.data._types import DataVersion, HubRows, Spec
from bai_sweep.records import UserError

_SAID = 6  # faults in a message
_CHUNK = 1 << 20


def check(benchmark: str, data_dir: str | Path | None, *, partial: bool) -> str | None:
    """What is wrong with a benchmark's data, with the place, the rule and the way to get it; None if nothing is.

    A verdict holds within the process until a file's size or time changes.

    Args:
        benchmark: a name of `BENCHMARKS`.
        data_dir: the folder with all benchmarks; None checks what earlier runs left in the user's cache, and is
            content with an incomplete cache, which `load` completes; offline it is a fault, where the cache is not
            empty or the benchmark is not on the hub.
        partial: accepts a subset of the rows, and of MMLU's subjects and LiveBench's tasks; `describe` says so then.

    Raises:
        UserError: no such benchmark.
    """
    spec = spec_of(benchmark)
    try:
        findings = inspect(spec, folder_of(spec, data_dir))
    except OSError as error:  # a folder that this user may not open
        return f"{error.filename} cannot be read: {error.strerror}; give a folder that this user may open"
    if data_dir is None and not findings.paths:
        return _unfetched(spec)
    faults = [*findings.broken, *(() if partial and findings.paths else findings.lacking)]
    if not faults or (data_dir is None and not hub_is_off()):  # `load` makes the user's cache whole
        return None
    forgiven = (
        "" if findings.broken or not findings.paths else "; or set evaluation.partial_data=true, if a subset is meant"
    )
    return f"{_message(spec, findings, faults, data_dir)}; get it with `{command(spec, data_dir)}`{forgiven}"


def describe(benchmark: str, data_dir: str | Path | None) -> DataVersion:
    """Which data lies there, for a run's record and for cache keys.

    Args:
        benchmark: a name of `BENCHMARKS`.
        data_dir: the folder with all benchmarks; None is the user's cache.

    Raises:
        UserError: no such benchmark, or data with which even a partial run would not do.
    """
    spec = spec_of(benchmark)
    findings = inspect(spec, folder_of(spec, data_dir))
    if findings.broken or not findings.paths:
        raise UserError(check(benchmark, data_dir, partial=True) or f"{spec.title} has not been fetched yet")
    return DataVersion(
        benchmark=benchmark,
        version=spec.version,
        source=findings.source,
        rows=findings.counts,
        digest=_digest(tuple((key, state(path)) for key, path in findings.paths.items())),
        partial=bool(findings.lacking),
    )


def _unfetched(spec: Spec) -> str | None:
    """A fault only for what is not a dataset of the hub: such a one may lie in the cache of `datasets`."""
    if not hub_is_off() or all(isinstance(source, HubRows) for file in spec.files for source in file.sources):
        return None
    return (
        f"{spec.title} is not in {folder_of(spec, None)} and this machine is offline (HF_HUB_OFFLINE or alike); where "
        f"there is a network, run `{command(spec, None)}`, and copy the folder"
    )


def _message(spec: Spec, findings: Findings, faults: Sequence[str], data_dir: str | Path | None) -> str:
    if not findings.paths and not findings.broken:
        first = findings.lacking[0].removeprefix("there is no ")
        return f"{spec.title} lies in {folder_of(spec, resolve(data_dir))}, which has none of its files ({first}, ...)"
    more = len(faults) - _SAID
    return "; ".join(faults[:_SAID]) + (f"; and {more} more faults" if more > 0 else "")


@lru_cache(maxsize=64)
def _digest(states: tuple[tuple[str, tuple[str, int, int]], ...]) -> str:
    digest = hashlib.sha256()
    for key, (path, size, _) in states:
        digest.update(f"{key}\0{size}\0".encode())  # where one file ends and the next begins
        with Path(path).open("rb") as file:
            while chunk := file.read(_CHUNK):
                digest.update(chunk)
    return digest.hexdigest()
