"""From the configuration of an actor to a live model that holds its weights."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from bai_sweep.config import MergedActor, ModelConfig, SFTActor
from bai_sweep.merging._checkpoint import Checkpoint
from bai_sweep.merging._linear import linear_merge
from bai_sweep.records import MergeRecipe, UserError


@dataclass(frozen=True)
class InitialActor:
    """The model that PPO starts from, its tokenizer, and the weights that made it."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    recipe: MergeRecipe


def recipe_of(model: ModelConfig, actor: MergedActor | SFTActor) -> MergeRecipe:
    """The weights of every checkpoint in an actor, both stages flattened into one linear merge.

    `alpha * base + (1 - alpha) * sum_i w_i * sft_i` (arXiv 2509.00309, section 3); checkpoints of weight 0 are
    left out, so that they are never read.
    """
    if isinstance(actor, SFTActor):
        weights = {actor.sft: 1.0}
    else:
        weights = {"base": actor.alpha}
        weights |= {name: (1.0 - actor.alpha) * weight for name, weight in actor.weights.items()}
    weights = {name: weight for name, weight in weights.items() if weight != 0.0}
    sources = {"base": model.base, **model.sft}
    return MergeRecipe(weights, {name: sources[name] for name in weights})


def initialise(model: ModelConfig, actor: MergedActor | SFTActor) -> InitialActor:
    """Merges the checkpoints straight into a live model.

    Raises:
        UserError: the checkpoints do not fit together; every fault is named with tensors and shapes.
    """
    recipe = recipe_of(model, actor)
    sources = {"base": model.base, **model.sft}
    with ExitStack() as stack:
        checkpoints = {n: stack.enter_context(Checkpoint(source)) for n, source in recipe.sources.items()}
        _require_alike(checkpoints)
        first = next(iter(checkpoints.values()))
        dtype = getattr(torch, model.dtype)
        live = AutoModelForCausalLM.from_pretrained(first.folder, dtype=dtype, local_files_only=True)
        if len(checkpoints) > 1 or recipe.weights[next(iter(checkpoints))] != 1.0:
            _merge_into(live, checkpoints, recipe.weights)
    tokenizer_folder = Checkpoint(sources[model.tokenizer]).folder
    tokenizer = AutoTokenizer.from_pretrained(tokenizer_folder, local_files_only=True)
    return InitialActor(live, tokenizer, recipe)


def _merge_into(live: PreTrainedModel, checkpoints: Mapping[str, Checkpoint], weights: Mapping[str, float]) -> None:
    state = live.state_dict()
    names = next(iter(checkpoints.values())).names()
    if unknown := sorted(names - set(state)):
        raise UserError(
            f"{type(live).__name__} has no parameter for these tensors of the checkpoints: {', '.join(unknown[:5])}; "
            "checkpoints that transformers converts while loading cannot be merged by name"
        )
    with torch.no_grad():
        for name in names:
            target = state[name]
            parts = [checkpoint.tensor(name) for checkpoint in checkpoints.values()]
            target.copy_(linear_merge(parts, [weights[n] for n in checkpoints], target.dtype))
    live.tie_weights()


def _require_alike(checkpoints: Mapping[str, Checkpoint]) -> None:
    """All checkpoints have the same tensors in the same shapes."""
    (first_name, first), *others = checkpoints.items()
    faults: list[str] = []
    for name, other in others:
        faults += [f"{t}: in {first_name}, not in {name}" for t in sorted(first.names() - other.names())]
        faults += [f"{t}: in {name}, not in {first_name}" for t in sorted(other.names() - first.names())]
        for tensor in sorted(first.names() & other.names()):
            ours, theirs = first.shape(tensor), other.shape(tensor)
            if ours != theirs:
                faults.append(f"{tensor}: {list(ours)} in {first_name}, {list(theirs)} in {name}")
    if faults:
        shown = faults[:20] + ([f"... and {len(faults) - 20} more"] if len(faults) > 20 else [])
        raise UserError(
            "the checkpoints do not fit together; a linear merge needs the same tensors in the same shapes:\n"
            + "\n".join(f"  - {fault}" for fault in shown)
        )
