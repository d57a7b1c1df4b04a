"""A small merge written to a folder, for the tests of what stands in it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file

from bai_sweep.merging._plan import plan_merge
from bai_sweep.merging._types import Method, Values
from bai_sweep.merging.inputs import open_members, settings_of
from bai_sweep.merging.methods import Linear
from bai_sweep.merging.output import write_model
from bai_sweep.records import MergeRecipe


def write(
    family: Mapping[str, Path],
    out: Path,
    *,
    method: Method | None = None,
    recipe: MergeRecipe | None = None,
    vocabulary: str = "union",
    tokenizer: str = "base",
    read: Sequence[str] | None = None,
    **changes: Any,
) -> Path:
    """Merges `family` half and half (or as told) with the settings that a test does not care about filled in."""
    names = list(read or family)
    share = 1.0 / max(len(names) - 1, 1)
    method = method or Linear(0.5, {name: share for name in names if name != "base"})
    weights = {name: 0.5 if name == "base" else 0.5 * share for name in names}
    recipe = recipe or MergeRecipe(weights, {name: str(family[name]) for name in names})
    settings: dict[str, Any] = {"dtype": "F32", "max_shard_bytes": 10**9, "threads": 2, "geometry": None, **changes}
    with open_members({name: str(family[name]) for name in names}) as members:
        others = settings_of({name: str(folder) for name, folder in family.items() if name not in members})
        plan = plan_merge(
            {name: members.get(name) or others[name] for name in family},
            tokenizer=tokenizer,
            vocabulary=vocabulary,  # type: ignore[arg-type]
            missing_tokens="mean",
        )
        return write_model(
            plan,
            method,
            recipe,
            out,
            **settings,
        )


def tensors_in(folder: Path) -> dict[str, torch.Tensor]:
    """Every tensor of a folder, whatever its files."""
    return {name: tensor for file in sorted(folder.glob("*.safetensors")) for name, tensor in load_file(file).items()}


def half_and_half(family: Mapping[str, Path]) -> dict[str, torch.Tensor]:
    """`0.5 * base + 0.5 * (mean of the others)` in float64, of models whose rows agree."""
    loaded = {name: tensors_in(folder) for name, folder in family.items()}
    others = [name for name in family if name != "base"]
    return {
        name: 0.5 * tensor.double() + 0.5 * sum(loaded[o][name].double() for o in others) / len(others)
        for name, tensor in loaded["base"].items()
    }


def left_beside(folder: Path) -> list[str]:
    """What stands beside an output folder under names made of its own."""
    return sorted(path.name for path in folder.parent.iterdir() if path.name.startswith(folder.name))


def values(count: int, seed: int = 0) -> Values:
    """Seeded values of a usual size."""
    return np.random.default_rng(seed).standard_normal(count).astype(np.float32)
