"""From the configuration of an actor to its merging method, and to the record of what the method does."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from bai_sweep.config import (
    DareMerge,
    DepthMerge,
    LinearMerge,
    MergedActor,
    ModelConfig,
    SFTActor,
    SlerpMerge,
    TaskArithmeticMerge,
    TiesMerge,
    TwoSaveMerge,
)
from bai_sweep.merging._dtypes import DTYPES
from bai_sweep.merging._types import Method, Part
from bai_sweep.merging.methods._dare import Dare
from bai_sweep.merging.methods._depth import Depth
from bai_sweep.merging.methods._linear import Linear
from bai_sweep.merging.methods._slerp import Slerp
from bai_sweep.merging.methods._task_arithmetic import TaskArithmetic
from bai_sweep.merging.methods._ties import Ties
from bai_sweep.merging.methods._two_save import TwoSave
from bai_sweep.records import MergeRecipe

BASE = "base"


def method_of(actor: MergedActor | SFTActor) -> Method:  # noqa: PLR0911 - one for each method
    """How an actor's tensors are made; SFT models of weight 0 are left out, and an SFT actor is a merge of one."""
    if isinstance(actor, SFTActor):
        return Linear(0.0, {actor.sft: 1.0})
    weights = {name: weight for name, weight in actor.weights.items() if weight != 0.0}
    scale = _scale(actor)
    match actor.merge:
        case LinearMerge():
            return Linear(actor.alpha, weights)
        case TwoSaveMerge(dtype=dtype):
            return TwoSave(actor.alpha, weights, DTYPES[dtype])
        case SlerpMerge():
            return Slerp(actor.alpha, weights)
        case TaskArithmeticMerge():
            return TaskArithmetic(weights, scale)
        case TiesMerge(density=density, election=election):
            return Ties(weights, scale, density, election)
        case DareMerge(density=density, election=ballot, seed=seed):
            return Dare(weights, scale, density, ballot, seed)
        case DepthMerge():
            return _depth(actor.alpha, weights, actor.merge)


def recipe_of(sources: Mapping[str, str] | ModelConfig, actor: MergedActor | SFTActor) -> MergeRecipe:
    """What makes an actor: its weights with both stages flattened, the models that are read, the method's settings.

    `alpha * base + (1 - alpha) * sum_i w_i * sft_i` (arXiv 2509.00309, section 3); checkpoints of weight 0 are left
    out. A `scale` that is set takes the place of `1 - alpha`. A method may read a model that has no weight: a task
    vector starts at the base, and a depth schedule may give the base another share than the actor's alpha does.

    Args:
        sources: Where the models are, by their names; at least those that are read.
        actor: What is made of them.
    """
    if isinstance(sources, ModelConfig):
        sources = {BASE: sources.base, **sources.sft}
    read = {name: sources[name] for name in method_of(actor).members}
    if isinstance(actor, SFTActor):
        return MergeRecipe({actor.sft: 1.0}, read)
    scale = _scale(actor)
    of_base = actor.alpha if scale == 1.0 - actor.alpha else 1.0 - scale
    weights = {BASE: of_base} | {name: scale * weight for name, weight in actor.weights.items()}
    weights = {name: weight for name, weight in weights.items() if weight != 0.0}
    return MergeRecipe(weights, read, actor.merge.method, _settings(actor))


def _scale(actor: MergedActor) -> float:
    """The share of the SFT models: what alpha leaves them, or what a method on task vectors was given."""
    given: float | None = getattr(actor.merge, "scale", None)
    return 1.0 - actor.alpha if given is None else given


def _depth(alpha: float, weights: Mapping[str, float], merge: DepthMerge) -> Depth:
    first, middle, last = (
        alpha if point is None else point for point in (merge.layers.first, merge.layers.middle, merge.layers.last)
    )
    parts = cast("dict[Part, float]", merge.parts.model_dump(exclude_none=True))
    return Depth(alpha, weights, (first, middle, last), parts)


def _settings(actor: MergedActor) -> dict[str, Any]:
    """The method's own settings, as far as they say something."""
    set_ = actor.merge.model_dump(exclude={"method"}, exclude_none=True)
    return {name: value for name, value in set_.items() if value != {}}
