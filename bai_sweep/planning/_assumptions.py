"""What a plan assumes where nothing was measured: each is a setting, and each is printed where it was used."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

from bai_sweep.config import NoRL, PPOSettings, TrialConfig


@dataclass(frozen=True)
class Assumptions:
    """The assumptions.

    Args:
        flops: FLOP/s that a device could do in the trial's precision; None: of the GPU by its name, of a CPU as a
            matrix product of 512 rows reaches here.
        utilisation: Share of it that forward and backward passes reach (MFU).
        bandwidth: Bytes a second at which a device reads weights; None: of the GPU by its name.
        launch_seconds: Of a layer in each decoding step, however few rows there are: Python and kernel launches.
        disk: Bytes a second of reading checkpoints and of writing them.
        prompt_tokens: Of a prompt of PPO.
        question_tokens: Of a benchmark's prompt.
        answer_tokens: Of a response to it, where the configuration allows more.
        libraries: Bytes that Python and the libraries take in a process.
        sample_bytes: Of an item in a trial's folder: prompt, response, points.
    """

    flops: float | None = None
    utilisation: float = 0.3
    bandwidth: float | None = None
    launch_seconds: float = 5e-4
    disk: float = 1e9
    prompt_tokens: int = 256
    question_tokens: int = 512
    answer_tokens: int = 1024
    libraries: float = 0.75e9
    sample_bytes: float = 4096.0


@dataclass(frozen=True)
class Device:
    """What computes a trial.

    Args:
        kind: `cpu`, `cuda` or `mps`.
        name: As people call it.
        flops: FLOP/s at most, of one.
        bandwidth: Bytes a second at which one reads weights.
        count: Devices of a trial: processes that share PPO, one a GPU.
    """

    kind: str
    name: str
    flops: float
    bandwidth: float
    count: int


# TFLOP/s in bf16 and fp32 without sparsity, TB/s: NVIDIA's data sheets. (T4 and V100 have no bf16: fp16's.)
_GPUS: Mapping[str, tuple[float, float, float]] = {
    "H200": (989, 67, 4.8),
    "H100": (989, 67, 3.35),
    "A100": (312, 19.5, 2.0),
    "L40S": (362, 91.6, 0.864),
    "A10": (125, 31.2, 0.6),
    "L4": (121, 30.3, 0.3),
    "V100": (125, 15.7, 0.9),
    "T4": (65, 8.1, 0.32),
    "mps": (10, 10, 0.2),  # Apple's, of which there are many: an order of magnitude
}
_USUAL = "A100"
_CPU_BANDWIDTH = 2e10
"""Bytes a second of two channels of DDR4, half of what they have on paper."""


def device_of_trial(config: TrialConfig, assumed: Assumptions, *, workers: int) -> Device:
    """What a trial runs on: the configuration's device, also where this machine has none of its kind.

    On a CPU the workers share the cores.
    """
    kind, name = _kind(config.device)
    count = config.rl.num_processes if isinstance(config.rl, PPOSettings) and kind != "cpu" else 1
    if kind == "cpu":
        flops = assumed.flops or _matrix_product() / workers
        return Device(kind, "this CPU", flops, (assumed.bandwidth or _CPU_BANDWIDTH) / workers, 1)
    known = next((gpu for gpu in _GPUS if gpu in name), _USUAL)
    half, single, bandwidth = _GPUS[known]
    computes_in_half = isinstance(config.rl, NoRL) or config.rl.precision == "bf16"
    flops = assumed.flops or (half if computes_in_half else single) * 1e12
    return Device(kind, name or f"a GPU like {known}", flops, assumed.bandwidth or bandwidth * 1e12, count)


def _kind(device: str) -> tuple[str, str]:
    """The kind of device, and the name of a GPU that is here."""
    if device in ("cpu", "mps"):
        return device, device
    import torch

    there = torch.cuda.is_available()
    if device == "auto" and not there:
        return "cpu", ""
    return "cuda", torch.cuda.get_device_name() if there else ""


@cache
def _matrix_product() -> float:
    """FLOP/s of a matrix product in fp32 on the cores that this process may use: the best of five."""
    import numpy as np

    size = 512
    one = np.ones((size, size), dtype=np.float32)
    best = float("inf")
    for _ in range(5):
        start = time.perf_counter()
        one @ one
        best = min(best, time.perf_counter() - start)
    return 2.0 * size**3 / best
