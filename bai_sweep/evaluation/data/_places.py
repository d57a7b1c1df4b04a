"""Names of benchmarks, and where their files lie."""

from __future__ import annotations

import os
import re
from pathlib import Path

from bai_sweep.evaluation.data._types import Spec
from bai_sweep.evaluation.data.benchmarks import SPECS
from bai_sweep.records import UserError

BENCHMARKS = tuple(SPECS)
_NOT_ASKED = re.compile(r"^validation$|_dev$|^baseline/")
"""Files of a benchmark that hold examples or other models' answers."""


def spec_of(benchmark: str) -> Spec:
    """A benchmark's data by its name.

    Raises:
        UserError: there is none of that name.
    """
    if benchmark not in SPECS:
        raise UserError(f"benchmarks with data are {', '.join(BENCHMARKS)}; got {benchmark!r}")
    return SPECS[benchmark]


def official_items(benchmark: str) -> int:
    """How many items a benchmark has as published.

    Raises:
        UserError: there is none of that name.
    """
    return sum(file.rows for file in spec_of(benchmark).files if not _NOT_ASKED.search(file.key))


def resolve(data_dir: str | Path | None) -> Path:
    """The folder of all benchmarks; None is the user's cache, $XDG_CACHE_HOME/bai-sweep/benchmarks."""
    if data_dir is None:
        return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "bai-sweep" / "benchmarks"
    return Path(data_dir).expanduser().absolute()


def folder_of(spec: Spec, data_dir: str | Path | None) -> Path:
    """A benchmark's own folder."""
    return resolve(data_dir) / spec.folder


def command(spec: Spec, data_dir: str | Path | None) -> str:
    """What to run to get a benchmark's data."""
    return f"python -m bai_sweep.evaluation fetch benchmarks={spec.name} data_dir={resolve(data_dir)}"
