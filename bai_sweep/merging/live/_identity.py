"""What a merge that is made later is known by: digests of what it reads and of what it gives."""

from __future__ import annotations

import hashlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from bai_sweep.config import MergedActor, ModelConfig, SFTActor
from bai_sweep.merging.inputs import digests
from bai_sweep.merging.live._opened import Opened
from bai_sweep.merging.live._process import opened
from bai_sweep.merging.methods import method_of
from bai_sweep.merging.output import TRAVELS

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from bai_sweep.merging.live._initialise import InitialActor

_SETTINGS = ("config.json", "generation_config.json")


def identified(initial: InitialActor, model: ModelConfig, actor: MergedActor | SFTActor) -> InitialActor:
    """The actor with the digests of its inputs and of its weights in its recipe.

    Takes the time to hash both; a file that this process has hashed before is not read again.

    Args:
        initial: What `initialise` has just made of the others.
        model: The checkpoints.
        actor: What was made of them.

    Raises:
        UserError: An input cannot be read.
    """
    recipe = replace(initial.recipe, inputs=inputs_of(model, actor), digest=digest_of(initial.model))
    return replace(initial, recipe=recipe)


def inputs_of(model: ModelConfig, actor: MergedActor | SFTActor) -> dict[str, dict[str, str]]:
    """The SHA-256 of the files that a merge depends on: weights that are read, settings and tokenizers of all models.

    Returns:
        By model and by file name in the model's folder, so that a model may be moved.

    Raises:
        UserError: A model is not there, or they do not fit together.
    """
    with opened(model, method_of(actor).members) as merge:
        files = {name: _files_of(name, merge) for name in merge.plan.models}
    found = digests([file for listed in files.values() for file in listed.values()], torch.get_num_threads())
    return {name: {key: found[file] for key, file in listed.items()} for name, listed in files.items()}


def _files_of(name: str, merge: Opened) -> dict[str, Path]:
    weights = merge.members[name].files if name in merge.members else ()
    folder = merge.plan.models[name].folder
    beside = sorted(path for pattern in (*_SETTINGS, *TRAVELS) for path in folder.glob(pattern))
    # weights by their names alone: an adapter's base lies in another folder
    return {str(path.relative_to(folder)): path for path in beside} | {file.name: file for file in weights}


def digest_of(model: PreTrainedModel) -> str:
    """One SHA-256 of a model's parameters: names, dtypes, shapes and every bit; the same on every device.

    Tied parameters count once; buffers, which a model computes, do not.
    """
    named = sorted(model.named_parameters())
    with ThreadPoolExecutor(max(1, torch.get_num_threads())) as pool:  # hashlib works outside the interpreter's lock
        parts = list(pool.map(_digest, [parameter for _, parameter in named]))
    whole = hashlib.sha256()
    for (name, parameter), part in zip(named, parts, strict=True):
        whole.update(f"{name} {parameter.dtype} {tuple(parameter.shape)} {part}\n".encode())
    return whole.hexdigest()


def _digest(tensor: Tensor) -> str:
    flat = tensor.detach().contiguous().cpu().view(-1)
    return hashlib.sha256(flat.view(torch.uint8).numpy().data).hexdigest()
