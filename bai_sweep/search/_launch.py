"""Starts workers: in this process, as local processes, or through any Hydra launcher."""

from __future__ import annotations

from dataclasses import dataclass

from hydra._internal.callbacks import Callbacks
from hydra.core.plugins import Plugins
from hydra.types import HydraContext
from omegaconf import DictConfig

from bai_sweep import merging
from bai_sweep.search._lease import machine
from bai_sweep.search._queue import TrialQueue
from bai_sweep.search._supervisor import supervise
from bai_sweep.search._threads import limit_threads, threads_per_worker
from bai_sweep.search._worker import WorkerJob, terminated_as_interrupted, work


def run_workers(job: WorkerJob, queue: TrialQueue, *, workers: int, threads: int | None) -> None:
    """Runs the study's trials; returns when no worker is left.

    Args:
        job: what each worker gets.
        queue: the study's queue as this process sees it.
        workers: how many.
        threads: CPU threads for each; None for an even share of this machine's cores.

    Raises:
        KeyboardInterrupt: after the running trials were given back to the queue.
    """
    try:
        if not str(job.config.hydra.launcher._target_).endswith(".BasicLauncher"):
            _launch(job, workers, threads)
        elif workers == 1:
            limit_threads(threads_per_worker(threads, 1))
            with terminated_as_interrupted():
                work(job)
        else:
            supervise(job, queue, workers=workers, threads=threads_per_worker(threads, workers))
    finally:
        merging.release()  # shared memory, also of workers that were killed


@dataclass(frozen=True)
class _LaunchedWorker:
    """A worker as the task of a Hydra job, wherever the launcher runs it."""

    job: WorkerJob
    threads: int | None
    workers: int
    home: str

    def __call__(self, _config: DictConfig) -> None:
        # On another machine the launcher's own allocation decides, unless the user did.
        if self.threads is not None or machine() == self.home:
            limit_threads(threads_per_worker(self.threads, self.workers))
        with terminated_as_interrupted():
            work(self.job)


def _launch(job: WorkerJob, workers: int, threads: int | None) -> None:
    launcher = Plugins.instance().instantiate_launcher(
        # Without callbacks: on_job_start is for trials, and a worker is none.
        hydra_context=HydraContext(config_loader=job.context.config_loader, callbacks=Callbacks()),
        task_function=_LaunchedWorker(job, threads, workers, machine()),
        config=job.config,
    )
    overrides = [*job.space.fixed, f"study={job.study}", "hydra.sweep.subdir=workers/${hydra.job.num}"]
    for returned in launcher.launch([overrides] * workers, initial_job_idx=0):
        _ = returned.return_value  # raises what the worker raised
