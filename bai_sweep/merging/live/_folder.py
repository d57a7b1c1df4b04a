"""A trial's actor as a model folder, made after the trial."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch

from bai_sweep.config import MergedActor, ModelConfig, SFTActor
from bai_sweep.merging._dtypes import DTYPES
from bai_sweep.merging.geometry import Geometry
from bai_sweep.merging.live._opened import arithmetic_of
from bai_sweep.merging.live._process import opened
from bai_sweep.merging.methods import method_of, recipe_of
from bai_sweep.merging.output import Provenance, write_model

_SHARD = 5 * 10**9  # bytes, as the command's default


def write_actor(
    model: ModelConfig,
    actor: MergedActor | SFTActor,
    folder: Path,
    *,
    dtype: str,
    provenance: Provenance,
    command: str | None = None,
    max_shard_bytes: int = _SHARD,
    on_progress: Callable[[int], None] | None = None,
) -> Path:
    """Merges into a new folder, with the operations and their order as in `initialise`.

    In float32 the folder has every bit of the float32 actor; a live actor of another dtype is its rounding.

    Args:
        model: The checkpoints.
        actor: What to make of them.
        folder: Must not exist; it appears when everything is in it.
        dtype: Of the weights: float32, bfloat16 or float16; each is rounded once.
        provenance: What the manifest and the card say of the merge's origin.
        command: What was typed, for the record.
        max_shard_bytes: Of a file's tensors.
        on_progress: Gets the number of elements just finished, from any thread.

    Returns:
        The folder.

    Raises:
        UserError: The folder exists, there is no room for it, the models do not fit, or a value is not finite.
    """
    method = method_of(actor)
    with opened(model, method.members) as merge:
        plan = merge.plan
        return write_model(
            plan,
            method,
            recipe_of({name: member.source for name, member in merge.members.items()}, actor),
            folder,
            dtype=DTYPES[dtype],
            max_shard_bytes=max_shard_bytes,
            threads=torch.get_num_threads(),
            geometry=Geometry(plan.tensors, plan.values, method.members, sample=True),
            on_progress=on_progress,
            command=command,
            arithmetic=arithmetic_of(actor, method),
            provenance=provenance,
        )
