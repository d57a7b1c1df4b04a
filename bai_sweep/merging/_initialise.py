"""From the configuration of an actor to a live model that holds its weights."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import torch
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    GenerationConfig,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from bai_sweep.config import MergedActor, ModelConfig, SFTActor
from bai_sweep.merging._checkpoint import Checkpoint, folder_of
from bai_sweep.merging._linear import linear_merge
from bai_sweep.records import MergeRecipe, UserError

log = logging.getLogger(__name__)

HEAD, EMBEDDING = "lm_head.weight", "model.embed_tokens.weight"


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
    return MergeRecipe(weights, {name: _sources(model)[name] for name in weights})


def initialise(model: ModelConfig, actor: MergedActor | SFTActor) -> InitialActor:
    """Merges the checkpoints straight into a live model.

    The model named by `model.tokenizer` gives tokenizer, configuration and generation configuration to every actor,
    and an end of sequence of any member ends a response: so actors of different ratios differ in weights only.

    Raises:
        UserError: the checkpoints do not fit together; every fault is named with tensors and shapes.
    """
    recipe = recipe_of(model, actor)
    settings = {name: folder_of(source, weights=False) for name, source in _sources(model).items()}
    configs = {name: AutoConfig.from_pretrained(folder) for name, folder in settings.items()}
    _warn_of_positions(configs)
    config = configs[model.tokenizer]
    # a head of its own in one member needs one in the merge; the others' heads are their embeddings
    config.tie_word_embeddings = all(c.tie_word_embeddings for c in configs.values())
    with ExitStack() as stack:
        checkpoints = {n: stack.enter_context(Checkpoint(source)) for n, source in recipe.sources.items()}
        tensors = {n: _tensor_names(c, tied=config.tie_word_embeddings) for n, c in checkpoints.items()}
        _require_alike(checkpoints, tensors)
        first = next(iter(checkpoints.values()))
        live = AutoModelForCausalLM.from_pretrained(
            first.folder, config=config, dtype=getattr(torch, model.dtype), local_files_only=True
        )
        _merge_into(live, checkpoints, tensors, recipe.weights)
    live.generation_config.eos_token_id = _ends(configs, settings) or None
    tokenizer = AutoTokenizer.from_pretrained(settings[model.tokenizer], local_files_only=True)
    return InitialActor(live, tokenizer, recipe)


def _sources(model: ModelConfig) -> dict[str, str]:
    return {"base": model.base, **model.sft}


def _tensor_names(checkpoint: Checkpoint, *, tied: bool) -> dict[str, str]:
    """Where each parameter of the merge stands in a checkpoint; a tied one has its head in its embedding."""
    names = {name: name for name in checkpoint.names()}
    if tied:
        names.pop(HEAD, None)  # some tied models are stored with both
    elif HEAD not in names and EMBEDDING in names:
        names[HEAD] = EMBEDDING
    return names


def _merge_into(
    live: PreTrainedModel,
    checkpoints: Mapping[str, Checkpoint],
    tensors: Mapping[str, Mapping[str, str]],
    weights: Mapping[str, float],
) -> None:
    state = live.state_dict()
    names = next(iter(tensors.values()))
    if unknown := sorted(set(names) - set(state)):
        raise UserError(
            f"{type(live).__name__} has no parameter for these tensors of the checkpoints: {', '.join(unknown[:5])}; "
            "checkpoints that transformers converts while loading cannot be merged by name"
        )
    with torch.no_grad():
        for name in names:
            target = state[name]
            parts = [checkpoint.tensor(tensors[n][name]) for n, checkpoint in checkpoints.items()]
            target.copy_(linear_merge(parts, [weights[n] for n in checkpoints], target.dtype))
    live.tie_weights()


def _require_alike(checkpoints: Mapping[str, Checkpoint], tensors: Mapping[str, Mapping[str, str]]) -> None:
    """All checkpoints have the same tensors in the same shapes."""
    (first_name, first), *others = checkpoints.items()
    ours = tensors[first_name]
    faults: list[str] = []
    for name, other in others:
        theirs = tensors[name]
        faults += [f"{t}: in {first_name}, not in {name}" for t in sorted(ours.keys() - theirs.keys())]
        faults += [f"{t}: in {name}, not in {first_name}" for t in sorted(theirs.keys() - ours.keys())]
        for tensor in sorted(ours.keys() & theirs.keys()):
            shape, other_shape = first.shape(ours[tensor]), other.shape(theirs[tensor])
            if shape != other_shape:
                faults.append(f"{tensor}: {list(shape)} in {first_name}, {list(other_shape)} in {name}")
    if faults:
        shown = faults[:20] + ([f"... and {len(faults) - 20} more"] if len(faults) > 20 else [])
        raise UserError(
            "the checkpoints do not fit together; a linear merge needs the same tensors in the same shapes:\n"
            + "\n".join(f"  - {fault}" for fault in shown)
        )


def _warn_of_positions(configs: Mapping[str, PreTrainedConfig]) -> None:
    """Weights trained with different rotary settings merge, and the result is doubtful."""
    settings = {name: str(getattr(config, "rope_parameters", None)) for name, config in configs.items()}
    if len(set(settings.values())) > 1:
        log.warning("the models differ in their rotary positions: %s", settings)


def _ends(configs: Mapping[str, PreTrainedConfig], folders: Mapping[str, Path]) -> list[int]:
    """The token ids that end a response of any member."""
    found: set[int] = set()
    for name, config in configs.items():
        found.update(_ids(getattr(config, "eos_token_id", None)))
        try:
            found.update(_ids(GenerationConfig.from_pretrained(folders[name], local_files_only=True).eos_token_id))
        except OSError:  # a model folder may do without one
            continue
    return sorted(found)


def _ids(value: int | Iterable[int] | None) -> Iterable[int]:
    if value is None:
        return ()
    return (value,) if isinstance(value, int) else value
