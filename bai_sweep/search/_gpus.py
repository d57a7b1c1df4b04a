"""Which GPUs each worker process of this machine sees: one trial's to each, none shared."""

from __future__ import annotations

import os
from collections.abc import Sequence

from bai_sweep.config import NoRL, TrialConfig
from bai_sweep.records import UserError

GPU_VARIABLE = "CUDA_VISIBLE_DEVICES"


def gpus_of_workers(configs: Sequence[TrialConfig], workers: int) -> list[str]:
    """The devices of each of `workers` processes, as CUDA_VISIBLE_DEVICES has them; empty: there is nothing to share.

    Raises:
        UserError: there are fewer GPUs than the workers' trials take.
    """
    wanted = {config.device for config in configs}
    if workers == 1 or wanted <= {"cpu", "mps"}:
        return []
    there = visible_gpus()
    if not there:
        return []  # device=auto is the CPU then, and device=cuda is refused by its own check
    if numbered := sorted(device for device in wanted if device.startswith("cuda:")):
        raise UserError(
            f"workers={workers} get a GPU each by themselves; got device={numbered[0]}, which is one for all; take "
            f"device=cuda, and {GPU_VARIABLE} to choose among the machine's"
        )
    each = max(1 if isinstance(config.rl, NoRL) else getattr(config.rl, "num_processes", 1) for config in configs)
    if workers * each > len(there):
        raise UserError(
            f"workers={workers} with {each} GPU{'s' if each > 1 else ''} to a trial take {workers * each}; "
            f"this machine shows {len(there)}; take workers={max(len(there) // each, 1)}, or device=cpu"
        )
    return [",".join(there[worker * each : (worker + 1) * each]) for worker in range(workers)]


def visible_gpus() -> list[str]:
    """The GPUs that this process may use, by the names that CUDA_VISIBLE_DEVICES gives them."""
    named = os.environ.get(GPU_VARIABLE)
    import torch

    count = torch.cuda.device_count()
    return named.split(",")[:count] if named else [str(index) for index in range(count)]
