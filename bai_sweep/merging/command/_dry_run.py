"""What a merge would do, in words and numbers."""

from __future__ import annotations

import resource
import shutil
import sys
from collections.abc import Iterator, Sequence

from bai_sweep.config import DareMerge, MergeMethod, TaskArithmeticMerge, TiesMerge
from bai_sweep.merging import _forks
from bai_sweep.merging._dtypes import storage
from bai_sweep.merging._types import BLOCK
from bai_sweep.merging.command._job import Job, stored_dtypes
from bai_sweep.merging.command._place import require_place
from bai_sweep.merging.command._progress import size
from bai_sweep.merging.geometry import RUN
from bai_sweep.merging.output import layout_of, room_for

_MATPLOTLIB = 40_000_000
_STORED = 262_144  # a worker's buffer for what a model's files hold


def describe(job: Job) -> str:
    """Everything that a person may ask before the merge runs; nothing is written for it."""
    lines = [
        f"would merge {job.recipe.formula()}",
        f"into        {job.settings.folder}; this is a dry run: nothing is written",
        "",
        *_table(_members(job)),
        "",
        f"result      {job.parameters:,} parameters in {len(job.plan.tensors):,} tensors, {job.dtype}"
        + ("; the head is the embedding" if job.plan.tied else ""),
        f"vocabulary  {_vocabulary(job)}",
        f"reads       {_reads(job)}",
        f"writes      {_writes(job)}",
        f"memory      about {size(_memory(job))} with {_workers(job)}, beyond the page cache",
        *(f"doubt       {doubt}" for doubt in job.plan.doubts),
        *([] if job.plan.doubts else ["doubts      none"]),
    ]
    return "\n".join(lines)


def _members(job: Job) -> Iterator[tuple[str, ...]]:
    yield ("model", "weight", "dtype", "parameters", "files", "source")
    for name, source in job.settings.sources.items():
        member = job.members.get(name)
        if member is None:
            yield (name, "0", "", "", "not read", source)
            continue
        stored = stored_dtypes(member)
        dtypes = "+".join(dtype for dtype, _ in stored.most_common())
        bytes_ = size(sum(file.stat().st_size for file in member.files))
        weight = f"{job.recipe.weights.get(name, 0.0):g}"
        yield (name, weight, dtypes, f"{stored.total():,}", f"{len(member.files)} ({bytes_})", member.source)


def _table(rows: Iterator[Sequence[str]]) -> list[str]:
    cells = list(rows)
    widths = [max(len(row[column]) for row in cells) for column in range(len(cells[0]))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in cells]


def _vocabulary(job: Job) -> str:
    words = job.plan.vocabulary
    parts = [f"that of {words.tokenizer}, {words.rows:,} rows"]
    if words.added:
        parts.append(f"{_counted(len(words.added), 'token')} of other models added")
    parts += [f"{name} lacks {count}" for name, count in words.lacking.items() if count]
    return "; ".join(parts)


def _reads(job: Job) -> str:
    passes = job.method.surveys
    before = f", {passes + 1} times ({passes} before the merge, to survey it)" if passes else ""
    return f"{size(job.read)}: each file once{before}; its digest is of the same bytes"


def _writes(job: Job) -> str:
    layout = layout_of(job.plan, job.dtype, job.settings.max_shard_size)
    free = shutil.disk_usage(require_place(job.settings.folder)).free
    needed = room_for(layout)
    short = "" if needed <= free else f"; TOO LITTLE for {size(needed)}: make room or write elsewhere"
    return f"{size(layout.size)} in {_counted(len(layout.shards), 'file')}; {size(free)} are free{short}"


def _counted(number: int, thing: str) -> str:
    return f"{number:,} {thing}" + ("" if number == 1 else "s")


def _workers(job: Job) -> str:
    if job.threads == 1:
        return "one process"
    return f"{job.threads} worker processes" if _forks.available() else f"{job.threads} threads"


def _memory(job: Job) -> int:
    """What planning took, then for each worker the rooms that it merges, reads, rounds and looks in; the figure."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    looks = job.settings.diagnostics != "none"
    models = len(job.members) + 1  # with the merge
    worker = (4 * rooms_of(job.settings.merge) + storage(job.dtype).itemsize) * BLOCK
    worker += len(job.members) * _STORED
    worker += (16 * models + 5) * RUN if looks else 0
    return peak + job.threads * worker + (_MATPLOTLIB if looks and job.settings.figure else 0)


def rooms_of(merge: MergeMethod) -> int:
    """How many of a block's rooms a method works in, whatever the number of models."""
    if isinstance(merge, TiesMerge) or (isinstance(merge, DareMerge) and merge.election != "none"):
        return 8
    return 3 if isinstance(merge, DareMerge | TaskArithmeticMerge) else 2
