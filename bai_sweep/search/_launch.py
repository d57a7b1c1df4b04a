"""Starts workers: in this process, as local processes, or through any Hydra launcher."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from hydra._internal.callbacks import Callbacks
from hydra.core.plugins import Plugins
from hydra.types import HydraContext
from omegaconf import DictConfig

from bai_sweep import merging
from bai_sweep.search._lease import machine
from bai_sweep.search._queue import TrialQueue
from bai_sweep.search._stopping import say_stopping, stop_is_asked, stoppable
from bai_sweep.search._supervisor import supervise
from bai_sweep.search._threads import limit_threads, threads_per_worker
from bai_sweep.search._worker import WorkerJob, work


def uses_launcher(config: DictConfig) -> bool:
    """Whether the user has chosen one of Hydra's launchers; its workers may be on other machines."""
    return not str(config.hydra.launcher._target_).endswith(".BasicLauncher")


def run_workers(
    job: WorkerJob, queue: TrialQueue, *, workers: int, threads: int | None, gpus: Sequence[str] = ()
) -> bool:
    """Runs the study's trials; returns when no worker is left.

    Args:
        job: what each worker gets.
        queue: the study's queue as this process sees it.
        workers: how many.
        threads: CPU threads for each; None for an even share of this machine's cores.
        gpus: the devices of each local worker process, where there are several.

    Returns:
        whether the user has asked to stop; then the running trials went back to the queue.

    Raises:
        KeyboardInterrupt: the user has asked twice.
    """
    try:
        if uses_launcher(job.config):
            _launch(job, workers, threads)
            return False
        if workers == 1:
            limit_threads(threads_per_worker(threads, 1))
            with stoppable(say_stopping):
                work(job)
        else:
            supervise(job, queue, workers=workers, threads=threads_per_worker(threads, workers), gpus=gpus)
        return stop_is_asked()
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
        with stoppable():
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
