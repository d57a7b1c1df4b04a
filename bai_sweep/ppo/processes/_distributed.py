"""The processes that share a training run; a run on its own is one of them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar, final

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from bai_sweep.config import PPOSettings
from bai_sweep.records import UserError

T = TypeVar("T")

BUCKET = 2**25
"""Gradients added up in one message: 128 MB in fp32."""


class PeerError(RuntimeError):
    """Another process failed by a fault of the code; this one has nothing to say about it."""


@final
class Processes:
    """What this process does with the others. Every method is called by all of them, in the same order."""

    def __init__(self) -> None:
        together = dist.is_available() and dist.is_initialized()
        self.rank: int = dist.get_rank() if together else 0
        self.count: int = dist.get_world_size() if together else 1

    @classmethod
    def join(cls) -> Processes:
        """Those that a launcher (`accelerate launch`, `torchrun`) started beside this one, connected if need be."""
        started = int(os.environ.get("WORLD_SIZE", "1"))
        if started > 1 and dist.is_available() and not dist.is_initialized():
            from accelerate import PartialState  # type: ignore[import-untyped]

            PartialState()
        return cls()

    @property
    def first(self) -> bool:
        """Whether this is the process that writes files and reports."""
        return self.rank == 0

    def device(self, wanted: torch.device) -> torch.device:
        """Of this process: each has a GPU of its own."""
        if self.count == 1 or wanted.type != "cuda":
            return wanted
        device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", self.rank)))
        torch.cuda.set_device(device)  # through which objects are gathered
        return device

    def check(self, settings: PPOSettings) -> None:
        """Whether the processes can share a run with these settings.

        Raises:
            UserError: They are not as many as the settings say, or cannot share its batches evenly.
        """
        if settings.num_processes not in (1, self.count):
            raise UserError(
                f"num_processes is how many share the run; got {settings.num_processes}, and {self.count} were "
                "started; leave it at 1, or start as many"
            )
        if settings.batch_size % self.count or settings.minibatch_size % self.count:
            raise UserError(
                f"{self.count} processes share every minibatch and batch evenly; got "
                f"minibatch_size={settings.minibatch_size}, batch_size={settings.batch_size}"
            )

    def share_of(self, rows: int) -> slice:
        """The contiguous part of `rows` rows that is this process's; their number is divisible by the processes'."""
        size = rows // self.count
        return slice(self.rank * size, (self.rank + 1) * size)

    def gather(self, work: Callable[[], T]) -> list[T]:
        """What `work` gives in each process, by rank; an error in one is raised in all.

        Raises:
            UserError: Another process raised it, or this one.
            PeerError: Another process failed otherwise.
        """
        if self.count == 1:
            return [work()]
        outcome: tuple[str, Any]
        failure: Exception | None = None
        try:
            outcome = ("ok", work())
        except Exception as error:  # noqa: BLE001 - raised again below, once the others know
            failure = error
            user = isinstance(error, UserError)
            outcome = ("user", str(error)) if user else ("bug", f"{type(error).__name__}: {error}")
        outcomes: list[tuple[str, Any]] = [("", None)] * self.count
        dist.all_gather_object(outcomes, outcome)
        if failure is not None:
            raise failure
        for rank, (kind, value) in enumerate(outcomes):
            if kind == "user":
                raise UserError(value)
            if kind == "bug":
                raise PeerError(f"process {rank} failed: {value}")
        return [value for _, value in outcomes]

    def sum(self, tensor: Tensor) -> Tensor:
        """The sum over all processes, in place."""
        if self.count > 1:
            dist.all_reduce(tensor)
        return tensor

    def max(self, tensor: Tensor) -> Tensor:
        """The largest over all processes, in place."""
        if self.count > 1:
            dist.all_reduce(tensor, op=dist.ReduceOp.MAX)
        return tensor

    def sum_gradients(self, parameters: Sequence[nn.Parameter]) -> None:
        """Adds up the gradients of replicated parameters over all processes; sharded ones are sums already.

        A parameter without a gradient in any process is left without: the optimizer passes it over.
        """
        replicated = [p for p in parameters if not isinstance(p, DTensor)]
        if self.count == 1 or not replicated:
            return
        device = replicated[0].device
        there = self.max(torch.tensor([float(p.grad is not None) for p in replicated], device=device)).tolist()
        for bucket in _buckets([p for p, has in zip(replicated, there, strict=True) if has]):
            gradients = [p.grad if p.grad is not None else torch.zeros_like(p) for p in bucket]
            flat = torch.cat([g.reshape(-1) for g in gradients])
            dist.all_reduce(flat)
            for parameter, total in zip(bucket, flat.split([g.numel() for g in gradients]), strict=True):  # type: ignore[no-untyped-call]
                parameter.grad = total.view_as(parameter)


def _buckets(parameters: Sequence[nn.Parameter]) -> Iterator[list[nn.Parameter]]:
    """Parameters in groups of one dtype and of up to BUCKET numbers (a larger one is a group of its own)."""
    bucket: list[nn.Parameter] = []
    for parameter in parameters:
        full = sum(p.numel() for p in bucket) + parameter.numel() > BUCKET
        if bucket and (full or bucket[0].dtype != parameter.dtype):
            yield bucket
            bucket = []
        bucket.append(parameter)
    if bucket:
        yield bucket
