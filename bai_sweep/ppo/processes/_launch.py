"""One PPO run in several processes of this machine, started and watched from one that takes no part in it.

accelerate's own launcher does not start several processes on a CPU, so they are started here.
"""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, final

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from bai_sweep.config import PPOSettings, RewardConfig
from bai_sweep.ppo._errors import DivergenceError
from bai_sweep.ppo.processes._accelerate import environment_of
from bai_sweep.ppo.processes._job import GO, STOP, Job, Said, read_trained, write_actor
from bai_sweep.records import StepTelemetry, UserError
from bai_sweep.signals import StopRequested

POLL = 0.01
"""Seconds between two looks at the processes; as long a step may wait for its answer."""

GRACE = 5.0
"""Seconds that the others have to say what they know of a failure, before they are ended."""

PEER = 3
"""A process's exit status when another one failed."""

LINES = 20
"""Of a failed process's log, shown in the error."""


class ProcessError(RuntimeError):
    """A process of a run failed by no fault of the user's."""


def train_in_processes(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    settings: PPOSettings,
    reward: RewardConfig,
    *,
    seed: int,
    device: torch.device,
    on_step: Callable[[StepTelemetry], None],
    probes: Mapping[str, str] | None = None,
    folder: Path | None = None,
) -> tuple[StepTelemetry, ...]:
    """The stage's `train` in `settings.num_processes` processes; the trained weights come back into `model`.

    They end with this call, whatever ends it, and with this process, however it ends.

    Args:
        model: The actor.
        tokenizer: Its tokenizer.
        settings: PPO's hyperparameters.
        reward: Prompts and reward functions.
        seed: The run's.
        device: Where to train; on CUDA each process has a GPU of its own.
        on_step: As of `train`.
        probes: As of `train`.
        folder: As of `train`.

    Raises:
        UserError: A process raised it; there are too few GPUs; the accelerate configuration cannot be used.
        ProcessError: A process failed otherwise; the message has the end of its log.
        StopRequested: `on_step` raised it.
    """
    count = settings.num_processes
    check_devices(count, device)
    threads = max(1, torch.get_num_threads() // count)
    environment = launch_environment(settings.accelerate_config, device, threads)
    done: list[StepTelemetry] = []

    def heard(kind: str, value: Any) -> None:
        if kind == "step":
            done.append(StepTelemetry(**value))
            on_step(done[-1])
        elif kind == "log":
            level, name, message = value
            logging.getLogger(name).log(level, "%s", message)

    with tempfile.TemporaryDirectory(prefix="bai-sweep-ppo-") as name:
        place = Path(name)
        dtype = str(model.dtype).removeprefix("torch.")
        Job(settings, reward, seed, device.type, dtype, threads, probes, folder).write(place)
        write_actor(model, tokenizer, place)
        with _away(model, device):
            with _Group(place, count, environment) as group:
                group.follow(heard)
            read_trained(model, place)
    model.eval()  # type: ignore[no-untyped-call]
    return tuple(done)


def launch_environment(accelerate_config: str | None, device: torch.device, threads: int) -> dict[str, str]:
    """What processes on one machine find in their environment, but for their places in the group.

    Args:
        accelerate_config: As `rl.accelerate_config`.
        device: Where they train.
        threads: Of each of them.

    Raises:
        UserError: The accelerate configuration cannot be used.
    """
    # All are on this machine: gloo need neither find out its name nor listen to a network.
    loopback = os.environ.get("GLOO_SOCKET_IFNAME") or ("lo0" if sys.platform == "darwin" else "lo")
    environment = {"GLOO_SOCKET_IFNAME": loopback, **environment_of(accelerate_config)}
    environment["OMP_NUM_THREADS"] = str(threads)
    if device.type == "cpu":
        environment["ACCELERATE_USE_CPU"] = "true"
    return environment


def check_devices(count: int, device: torch.device) -> None:
    """Whether each of `count` processes finds a device.

    Raises:
        UserError: There are fewer GPUs, or the device is of a kind that processes cannot share a run on.
    """
    if device.type not in ("cpu", "cuda"):
        raise UserError(f"rl.num_processes={count} need device=cpu or GPUs of CUDA; got device={device}; set it to 1")
    if device.type == "cuda" and torch.cuda.device_count() < count:
        raise UserError(
            f"each process has a GPU of its own; rl.num_processes={count}, torch finds {torch.cuda.device_count()}"
        )


@contextmanager
def _away(model: PreTrainedModel, device: torch.device) -> Iterator[None]:
    """Leaves the GPU to the processes while they are at work."""
    if device.type == "cpu":
        yield
        return
    model.to("cpu")  # type: ignore[arg-type]  # typed for tensors only
    torch.cuda.empty_cache()
    try:
        yield
    finally:
        model.to(device)  # type: ignore[arg-type]


@final
class _Group:
    """The processes of a run, each in a session of its own, all ended when the `with` is left."""

    def __init__(self, folder: Path, count: int, environment: Mapping[str, str]) -> None:
        self.folder, self.count = folder, count
        self.environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),  # reward functions are imported as here
            "WORLD_SIZE": str(count),
            "LOCAL_WORLD_SIZE": str(count),
            **environment,
        }
        self.processes: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> _Group:
        try:
            for rank in range(self.count):
                self.processes.append(self._start(rank))
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._end()

    def follow(self, heard: Callable[[str, Any], None]) -> None:
        """Passes on what the first process says, until all are done.

        Raises:
            UserError: A process raised it.
            ProcessError: A process failed otherwise.
            StopRequested: `heard` raised it of a step, and the processes have ended after that step.
        """
        said, offset = Said(self.folder, 0), 0
        deadline = stopped = None
        while True:
            codes = [process.poll() for process in self.processes]  # first: what they said before they ended is read
            news, offset = said.read(offset)
            for kind, value in news:
                try:
                    heard(kind, value)
                except StopRequested as error:
                    stopped = error
                if kind == "step":
                    self._answer(GO if stopped is None else STOP)
            failed = any(code not in (None, 0) for code in codes)
            if None not in codes and not failed:
                if stopped is not None:
                    raise stopped
                return
            if failed:
                deadline = deadline or time.monotonic() + GRACE
                if None not in codes or time.monotonic() > deadline:
                    raise self._failure(codes)
            time.sleep(POLL)

    def _answer(self, byte: bytes) -> None:
        """Tells the first process, which waits for it, whether to go on."""
        pipe = self.processes[0].stdin
        if pipe is not None:
            with suppress(BrokenPipeError):  # it has failed since, which its status will say
                pipe.write(byte)

    def _start(self, rank: int) -> subprocess.Popen[bytes]:
        with self._log(rank).open("wb") as log:
            # A process reads the end of its standard input when this one is gone, and then ends itself.
            return subprocess.Popen(
                [sys.executable, "-m", "bai_sweep.ppo.worker", str(self.folder)],
                env={**self.environment, "RANK": str(rank), "LOCAL_RANK": str(rank)},
                stdin=subprocess.PIPE,
                bufsize=0,  # an answer is there at once
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def _log(self, rank: int) -> Path:
        return self.folder / f"log-{rank}.txt"

    def _failure(self, codes: list[int | None]) -> Exception:
        """The cause: what a process raised for the user, else a process that was killed, else one that failed."""
        for rank in range(self.count):
            for kind, value in Said(self.folder, rank).read(0)[0]:
                if kind == "error":
                    return DivergenceError(value["message"]) if value["divergence"] else UserError(value["message"])
        ends = {rank: code for rank, code in enumerate(codes) if code}
        # Of failed processes the others only notice that the connection is gone (1), or are told (PEER).
        rank, code = min(ends.items(), key=lambda end: (end[1] > 0, end[1] == PEER))
        how = f"was ended by {signal.Signals(-code).name}" if code < 0 else f"failed with status {code}"
        tail = "\n".join(self._log(rank).read_text(encoding="utf-8", errors="replace").splitlines()[-LINES:])
        hint = " (out of memory?)" if code == -signal.SIGKILL else ""
        return ProcessError(f"process {rank} of {self.count} {how}{hint}; the end of its log:\n{tail}")

    def _end(self) -> None:
        """Kills what still runs, with all it has started."""
        for process in self.processes:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)
        for process in self.processes:
            process.wait()
            if process.stdin is not None:
                process.stdin.close()
