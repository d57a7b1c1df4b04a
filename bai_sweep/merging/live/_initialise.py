"""From the configuration of an actor to a live model that holds its weights."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from transformers import AutoTokenizer, GenerationConfig, PreTrainedModel, PreTrainedTokenizerBase

from bai_sweep.config import MergedActor, ModelConfig, SFTActor
from bai_sweep.merging._types import Method
from bai_sweep.merging.live._look import look
from bai_sweep.merging.live._opened import Opened
from bai_sweep.merging.live._process import opened
from bai_sweep.merging.live._sink import Target
from bai_sweep.merging.live._skeleton import converted, parameters_of, room_for, skeleton
from bai_sweep.merging.live._targets import targets_of
from bai_sweep.merging.methods import method_of, recipe_of
from bai_sweep.merging.output import add_tokens, copy_tokenizer, ends_of, generation_folder
from bai_sweep.records import MergeRecipe
from bai_sweep.sources import reading

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class InitialActor:
    """The model that PPO starts from, its tokenizer, what made it, and how it lies to what it was made of.

    `geometry` is the summary that docs/merging.md explains, from a sample of the weights; empty where it failed.
    """

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    recipe: MergeRecipe
    geometry: Mapping[str, Any] = field(default_factory=dict)


def initialise(model: ModelConfig, actor: MergedActor | SFTActor, *, threads: int | None = None) -> InitialActor:
    """Merges the checkpoints straight into a live model, on the CPU: so every device gets the same actor, bit for bit.

    The model named by `model.tokenizer` gives tokenizer, configuration and generation configuration to every actor,
    and an end of sequence of any member ends a response: so actors of different ratios differ in weights only.

    From the second linear merge of the same checkpoints and weights on, stage 1 is held in memory that the processes
    of a machine share, and a new alpha is one interpolation. The result is the same bit for bit.

    Args:
        model: The checkpoints.
        actor: What to make of them.
        threads: How many work; as many as torch has where None.

    Raises:
        UserError: The checkpoints do not fit together; every fault is named with tensors and shapes.
    """
    method = method_of(actor)
    with opened(model, method.members) as merge:
        live, geometry = _merged(model, actor, method, merge, threads or torch.get_num_threads())
        live.generation_config = _generation(live, merge)
        tokenizer = _tokenizer(merge, model.tokenizer)
        recipe = recipe_of({name: member.source for name, member in merge.members.items()}, actor)
    return InitialActor(live, tokenizer, recipe, geometry)


def _merged(
    model: ModelConfig, actor: MergedActor | SFTActor, method: Method, merge: Opened, threads: int
) -> tuple[PreTrainedModel, Mapping[str, Any]]:
    plan = merge.plan
    live = skeleton(plan.config, str(plan.models[model.tokenizer].folder), getattr(torch, model.dtype))
    parameters = parameters_of(live, plan.tensors)
    state = room_for(live, plan.tensors) if parameters is None else parameters
    targets = targets_of(state, plan.tensors)
    merge.merge(actor, method, targets, threads=threads)
    geometry = _looked(merge, targets)
    return (converted(live, state) if parameters is None else live), geometry


def _looked(merge: Opened, targets: Mapping[str, Target]) -> Mapping[str, Any]:
    try:
        return look(merge, targets)
    except Exception:
        log.exception("the merge's geometry could not be measured; the merge stands")
        return {}


def _generation(live: PreTrainedModel, merge: Opened) -> GenerationConfig:
    folder = generation_folder(merge.plan)
    if (folder / "generation_config.json").is_file():
        settings: GenerationConfig = GenerationConfig.from_pretrained(folder, local_files_only=True)
    else:
        settings = GenerationConfig.from_model_config(live.config)
    settings.eos_token_id = ends_of(merge.plan.models, merge.plan.vocabulary) or None
    return settings


def _tokenizer(merge: Opened, name: str) -> PreTrainedTokenizerBase:
    """The named model's, with the tokens that a union vocabulary adds."""
    folder, added = merge.plan.models[name].folder, merge.plan.vocabulary.added
    with reading(str(folder)):
        if not added:
            return _load(folder)
        with tempfile.TemporaryDirectory() as temporary:
            copy_tokenizer(folder, Path(temporary))
            add_tokens(Path(temporary), added)
            tokenizer = _load(Path(temporary))
        tokenizer.name_or_path = str(folder)
        return tokenizer


def _load(folder: Path) -> PreTrainedTokenizerBase:
    tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    return tokenizer
