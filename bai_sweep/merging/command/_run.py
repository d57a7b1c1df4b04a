"""The merge itself, from settings to a folder."""

from __future__ import annotations

import threading
import time

from bai_sweep.merging.command._job import Job, planned
from bai_sweep.merging.command._place import require_place
from bai_sweep.merging.command._progress import ProgressBar, size
from bai_sweep.merging.command._settings import MergeSettings
from bai_sweep.merging.command._streams import say, show
from bai_sweep.merging.geometry import Geometry, draw
from bai_sweep.merging.output import refuse_existing, write_model

_LOAD = """\
load it   transformers.AutoModelForCausalLM.from_pretrained({folder!r})
          or in a study: model.sft.<name>={folder}"""


def run(settings: MergeSettings, command: str) -> None:
    """Merges, or in a dry run says what a merge would do; prints to standard output what people want to know.

    Args:
        settings: What is asked for.
        command: The command line, for the manifest.

    Raises:
        UserError: The models do not fit, a file is broken, the folder exists or cannot be made, the disk is full.
    """
    started = time.perf_counter()
    refuse_existing(settings.folder)
    require_place(settings.folder)  # before models are downloaded
    with planned(settings) as job:
        if settings.dry_run:
            from bai_sweep.merging.command._dry_run import describe

            show(describe(job))
            return
        say(f"merging {job.recipe.formula()} into {job.settings.folder}", errors=True)
        for doubt in job.plan.doubts:
            say(f"doubt: {doubt}", errors=True)
        _write(job, command)
        say(_ending(job, time.perf_counter() - started))


def _write(job: Job, command: str) -> None:
    settings, plan = job.settings, job.plan
    looks = settings.diagnostics != "none"
    sample = settings.diagnostics == "sample"
    geometry = Geometry(plan.tensors, plan.values, job.method.members, sample=sample) if looks else None
    with ProgressBar(job.parameters, job.read_once + job.written) as bar:
        write_model(
            plan,
            job.method,
            job.recipe,
            job.settings.folder,
            dtype=job.dtype,
            max_shard_bytes=settings.max_shard_size,
            threads=job.threads,
            geometry=geometry,
            fork=threading.active_count() == 1,  # as always here, unless a download has left one
            draw=draw if settings.figure else None,
            on_progress=bar.advance,
            command=command,
        )


def _ending(job: Job, seconds: float) -> str:
    files = list(job.settings.folder.glob("*.safetensors"))
    weights = size(sum(file.stat().st_size for file in files))
    plural = "s" if len(files) > 1 else ""
    doubts = f"{len(job.plan.doubts)}, listed above and in merge.json" if job.plan.doubts else "none"
    return "\n".join(
        [
            f"merged    {job.recipe.formula()}",
            f"into      {job.settings.folder}",
            f"size      {job.parameters:,} parameters as {job.dtype}, {weights} in {len(files)} file{plural}",
            f"took      {seconds:.2f} s",
            f"doubts    {doubts}",
            _LOAD.format(folder=str(job.settings.folder)),
        ]
    )
