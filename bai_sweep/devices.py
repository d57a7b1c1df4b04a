"""Where to compute."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bai_sweep.records import UserError

if TYPE_CHECKING:
    import torch


def device_of(name: str) -> torch.device:
    """`auto` is the first GPU where there is one.

    Raises:
        UserError: This machine has no such device.
    """
    import torch

    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    device = torch.device(name)
    there = {"cpu": 1, "cuda": torch.cuda.device_count(), "mps": int(torch.backends.mps.is_available())}[device.type]
    if (device.index or 0) >= there:
        raise UserError(f"device={name}: torch finds {there} of this kind here; use device=auto")
    return device
