"""Whether networks can do what a run asks of them."""

from __future__ import annotations

import logging
from collections.abc import Mapping

import torch
from torch import nn
from transformers import DynamicCache, PreTrainedModel
from transformers.cache_utils import LinearAttentionCacheLayerMixin

from bai_sweep.records import UserError

log = logging.getLogger(__name__)


def check_length(model: PreTrainedModel, longest: int, name: str = "model") -> None:
    """Whether rows of so many tokens fit a model, which messages call by `name`.

    Raises:
        UserError: They do not.
    """
    config = model.config.get_text_config()
    positions = getattr(config, "max_position_embeddings", None)
    if positions is not None and longest > positions:
        raise UserError(
            f"prompt and completion fit in the {name}'s {positions} positions; the longest prompt and "
            f"rl.max_new_tokens make {longest}; lower rl.max_new_tokens"
        )
    # LongRoPE turns all keys by other frequencies once a batch is longer than the original positions. The sampler's
    # cache keeps keys turned by the old ones, so old and new policy would differ, and what a network says of a row
    # would depend on the rows beside it. (`dynamic` RoPE does so past max_position_embeddings, refused above.)
    rope = getattr(config, "rope_parameters", None) or {}
    kinds = [rope, *(kind for kind in rope.values() if isinstance(kind, dict))]  # one for each type of layer
    for kind in kinds:
        if kind.get("rope_type") == "longrope" and longest > (original := kind["original_max_position_embeddings"]):
            raise UserError(
                f"prompt and completion fit in the {original} original_max_position_embeddings of a {name} with "
                f"longrope; the longest prompt and rl.max_new_tokens make {longest}; lower rl.max_new_tokens"
            )


def check_sampled(model: PreTrainedModel) -> None:
    """Whether `bai_sweep.generation.sample`, which pads prompts on the left, samples from the model itself.

    Attention can leave padding out, also in windows. A state that is carried from token to token has it in, so that a
    short prompt beside a longer one would be continued by another distribution than the trainer's.

    Raises:
        UserError: A layer carries such a state.
    """
    layers = DynamicCache(config=model.config).layers
    if getattr(model, "_is_stateful", False) or any(isinstance(x, LinearAttentionCacheLayerMixin) for x in layers):
        raise UserError(
            "rl.engine=hf samples from models whose layers are all attention, as it pads prompts on the left; "
            f"{type(model).__name__} ({model.config.model_type}) has recurrent, convolution or linear-attention "
            "layers, whose state would take the padding in; use rl.engine=vllm, or another model"
        )


def check_trained(networks: Mapping[str, nn.Module], learning_rates: Mapping[str, float]) -> None:
    """Whether each network has weights to train, and a warning where their dtype is too coarse for that.

    Args:
        networks: By name.
        learning_rates: By the same names. AdamW's update of a weight is about as large.

    Raises:
        UserError: All weights of a network are frozen.
    """
    coarse = []
    for name, network in networks.items():
        parameters = list(network.parameters())
        trained = [p for p in parameters if p.requires_grad]
        if not trained:
            raise UserError(
                f"the {name} has weights to train; all {len(parameters)} parameters are frozen; call "
                "requires_grad_(True) on what shall learn, or train an adapter (lora)"
            )
        rate = learning_rates[name]
        for dtype in sorted({p.dtype for p in trained} & {torch.bfloat16, torch.float16}, key=str):
            # Numbers below a power of two are eps / 2 of it apart, and half of that rounds away.
            largest = 4 * rate / torch.finfo(dtype).eps
            kind = str(dtype).removeprefix("torch.")
            coarse.append(f"the {name} trains {kind} weights: an update of {rate:g} is lost in those over {largest:g}")
    if coarse:
        log.warning("%s; load with dtype=torch.float32; rl.precision says what is computed in", "; ".join(coarse))
