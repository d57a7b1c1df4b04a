"""The rows of a benchmark."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, final

from bai_sweep.evaluation.data._places import command, folder_of, resolve, spec_of
from bai_sweep.evaluation.data._reading import find, normalised, read
from bai_sweep.evaluation.data._types import Spec
from bai_sweep.records import UserError


def load(benchmark: str, data_dir: str | Path | None) -> Mapping[str, list[dict[str, Any]]]:
    """The rows of a benchmark's files, in one schema whatever form they lie in.

    Only reads and normalises; `check` is what tells good data from bad, and runs before anything expensive.

    Args:
        benchmark: a name of `BENCHMARKS`.
        data_dir: the folder with all benchmarks; None fetches the benchmark from the hub into the user's cache, once.

    Returns:
        Rows by key, in the official order; a file is read each time its key is asked for. Of a benchmark of many
        files, those that are there.

    Raises:
        UserError: no such benchmark, no file of it, or a hub that does not answer; once asked for, a file that cannot
            be read.
    """
    spec = spec_of(benchmark)
    if data_dir is None:
        from bai_sweep.evaluation.data._fetch import fetch  # the edge: only here does anything need a network

        data_dir = resolve(None)
        fetch([benchmark], data_dir)
    folder = folder_of(spec, data_dir)
    found = {file.key: path for file in spec.files if (path := find(folder, file.stem))}
    if not found:
        raise UserError(
            f"{spec.title} lies in {folder}, which has none of its files; get it with `{command(spec, data_dir)}`"
        )
    return _Tables(found, spec)


@final
class _Tables(Mapping[str, list[dict[str, Any]]]):
    """Files by key, each read when it is asked for: of LiveBench's eighteen, a task needs one."""

    def __init__(self, paths: Mapping[str, Path], spec: Spec) -> None:
        self._paths, self._spec = paths, spec

    def __getitem__(self, key: str) -> list[dict[str, Any]]:
        return normalised(read(self._paths[key]), self._spec.normalise)

    def __contains__(self, key: object) -> bool:
        return key in self._paths

    def __iter__(self) -> Iterator[str]:
        return iter(self._paths)

    def __len__(self) -> int:
        return len(self._paths)
