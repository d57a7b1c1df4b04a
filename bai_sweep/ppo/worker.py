"""One process of a PPO run that `_launch` started: `python -m bai_sweep.ppo.worker <folder of the job>`."""

from __future__ import annotations

import logging
import os
import random
import shutil
import signal
import sys
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from queue import SimpleQueue
from threading import Thread
from typing import final

import numpy as np
import torch
import torch.distributed as dist
from transformers.utils import logging as transformers_logging

from bai_sweep.ppo._errors import DivergenceError
from bai_sweep.ppo._stage import train
from bai_sweep.ppo.processes import PEER, STOP, Job, PeerError, Said, read_actor, write_trained
from bai_sweep.records import StepTelemetry, UserError
from bai_sweep.signals import StopRequested

PATIENCE = timedelta(hours=1)
"""How long processes wait for each other, as for the slowest reward function."""

REMOVALS = 3
"""Tries at removing a folder into which this process and the others may still write."""


def main(folder: Path) -> int:
    """Trains; what the stage shall know is said in the folder. Returns the exit status."""
    rank = int(os.environ["RANK"])
    answers: SimpleQueue[bytes] = SimpleQueue()
    Thread(target=_hear_parent, args=[answers, folder if rank == 0 else None], daemon=True).start()
    said = Said(folder, rank)
    logging.basicConfig(level=logging.INFO, handlers=[_Told(said)] if rank == 0 else None)
    transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    job = Job.read(folder)
    torch.set_num_threads(job.threads)
    _seed(job.seed)
    device = _connect(folder, rank, job.device)
    try:
        _train(job, folder, said, answers, device)
    except UserError as error:
        said.say("error", {"message": str(error), "divergence": isinstance(error, DivergenceError)})
        return 1
    except PeerError as error:
        logging.getLogger(__name__).error("%s", error)
        return PEER
    dist.barrier()
    dist.destroy_process_group()
    return 0


def _train(job: Job, folder: Path, said: Said, answers: SimpleQueue[bytes], device: torch.device) -> None:
    model, tokenizer = read_actor(folder, getattr(torch, job.dtype))
    first = dist.get_rank() == 0

    def on_step(record: StepTelemetry) -> None:
        if first:
            said.say("step", {"step": record.step, "metrics": dict(record.metrics)})
            if answers.get() == STOP:
                raise StopRequested

    with suppress(StopRequested):  # who asked for it waits for our end, and for no weights
        train(
            model,
            tokenizer,
            job.settings,
            job.reward,
            seed=job.seed,
            device=device,
            on_step=on_step,
            probes=job.probes,
            folder=job.folder,
        )
        if first:
            write_trained(model, folder)


def _connect(folder: Path, rank: int, kind: str) -> torch.device:
    """Joins the others; by a file, as a port that is free now may not be when it is used."""
    backend = "gloo"
    device = torch.device(kind)
    if kind == "cuda":
        device = torch.device("cuda", rank)
        torch.cuda.set_device(device)
        backend = "cpu:gloo,cuda:nccl"
    dist.init_process_group(
        backend,
        init_method=(folder / "rendezvous").as_uri(),
        rank=rank,
        world_size=int(os.environ["WORLD_SIZE"]),
        timeout=PATIENCE,
    )
    return device


def _seed(seed: int) -> None:
    """As a trial does, for reward functions that draw from the shared generators."""
    random.seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002
    torch.manual_seed(seed)


def _hear_parent(answers: SimpleQueue[bytes], folder: Path | None) -> None:
    """Takes in the answers to steps; ends this process and all it has started once its standard input is closed.

    Who started it was killed and cannot clean up: the first process removes the folder of the job, with the actor.
    """
    while answer := os.read(0, 1):
        answers.put(answer)
    if folder is not None:
        for _ in range(REMOVALS):
            shutil.rmtree(folder, ignore_errors=True)
    os.killpg(os.getpgid(0), signal.SIGKILL)


@final
class _Told(logging.Handler):
    """Hands log records to the stage, whose log they belong to."""

    def __init__(self, said: Said) -> None:
        super().__init__()
        self.said = said

    def emit(self, record: logging.LogRecord) -> None:
        """Appends one; tracebacks stay in the process's own log."""
        self.said.say("log", [record.levelno, record.name, record.getMessage()])


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
