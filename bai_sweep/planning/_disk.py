"""What a trial writes, by the models' sizes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from bai_sweep.config import NoRL, TrialConfig
from bai_sweep.planning._assumptions import Assumptions
from bai_sweep.planning._items import Counted
from bai_sweep.planning._sizes import Sizes

_ENTRY = 128.0
"""Bytes of a tensor's entry in the header of a safetensors file."""

_STEP = 2300.0
"""Bytes of a step's telemetry in a checkpoint's state.json, which has the random states too (30 kB)."""

_STATES = 30e3


@dataclass(frozen=True)
class Disk:
    """Bytes of a trial's folder.

    Args:
        checkpoint: Of one checkpoint of PPO; None where there is none.
        kept: How many there are at a time, the one that is being written included.
        saved: Of the models that stay, by the key that asks for them.
        samples: Of the evaluation's prompts, responses and points.
    """

    checkpoint: float | None
    kept: int
    saved: Mapping[str, float]
    samples: float

    @property
    def while_running(self) -> float:
        """At most, while the trial runs."""
        return (self.checkpoint or 0.0) * self.kept + self.afterwards

    @property
    def afterwards(self) -> float:
        """Once its result stands and its checkpoints are removed."""
        return sum(self.saved.values()) + self.samples


def disk_of(config: TrialConfig, sizes: Sizes, items: Mapping[str, Counted], assumed: Assumptions) -> Disk | None:
    """A trial's bytes on disk; None where the size of a network that is written is not known."""
    actor = next((placed for placed in sizes.networks if placed.role == "actor"), None)
    if actor is None or "critic" in sizes.unknown:
        return None
    rl = config.rl
    whole = float(actor.network.parameters * actor.width)
    asked = {"save_merge": config.save_merge, "save_actor": config.save_actor and not isinstance(rl, NoRL)}
    checkpoints = not isinstance(rl, NoRL) and rl.checkpoint_steps > 0
    return Disk(
        checkpoint=checkpoint_bytes(config, sizes) if checkpoints else None,
        # the one before is there until the next is whole
        kept=rl.checkpoint_limit + 1 if not isinstance(rl, NoRL) and checkpoints else 0,
        saved={key: whole for key, is_asked in asked.items() if is_asked},
        samples=sum(counted.requests for counted in items.values()) * assumed.sample_bytes,
    )


def checkpoint_bytes(config: TrialConfig, sizes: Sizes) -> float:
    """Bytes of PPO's last checkpoint: what is trained, Adam's two numbers for each and a count for each tensor."""
    steps = 0 if isinstance(config.rl, NoRL) else config.rl.steps
    numbers = sum(placed.trained * placed.width for placed in sizes.networks)
    tensors = sum(placed.trained_tensors for placed in sizes.networks)
    return 3.0 * numbers + tensors * (4.0 + 4.0 * _ENTRY) + steps * _STEP + _STATES
