"""Random streams of a run."""

from __future__ import annotations

import random

import torch


def stream(seed: int, purpose: str) -> torch.Generator:
    """A random stream of its own for each purpose, so that changing one leaves the others as they were."""
    return torch.Generator().manual_seed(random.Random(f"{seed}/{purpose}").getrandbits(63))
