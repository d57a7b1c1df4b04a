"""Gradient checkpointing: layers forget their activations and make them again in the backward pass.

transformers' own switch works in training mode only, where dropout works too; PPO's networks stay in evaluation mode.
So torch's checkpoint is put around the same layers here.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from torch.utils.checkpoint import checkpoint
from transformers import PreTrainedConfig, PreTrainedModel
from transformers.modeling_layers import GradientCheckpointingLayer

from bai_sweep.records import UserError


def recompute_layers(model: PreTrainedModel) -> None:
    """From now on, passes with gradients keep nothing but the input of each layer.

    Raises:
        UserError: The architecture names no such layers.
    """
    layers = _layers(model)
    if not layers:
        raise UserError(
            "rl.gradient_checkpointing needs an architecture whose layers transformers can checkpoint; "
            f"{type(model).__name__} has none; set it to false"
        )
    for layer in layers:
        # A partial, not a closure: a deepcopy of the model then has its own layer and its own config in it.
        layer.forward = functools.partial(_recomputed, layer, model.config)


def keep_activations(model: PreTrainedModel) -> None:
    """Takes `recompute_layers` back."""
    for layer in _layers(model):
        own = layer.__dict__.get("forward")
        if isinstance(own, functools.partial) and own.func is _recomputed:
            del layer.__dict__["forward"]


@contextmanager
def attention(config: PreTrainedConfig, implementation: str | None) -> Iterator[None]:
    """Another attention implementation for a while; of those that every model has, as nothing is checked."""
    # The setter of the config, not model.set_attn_implementation, which walks through all modules at each call.
    before = config._attn_implementation
    config._attn_implementation = implementation
    try:
        yield
    finally:
        config._attn_implementation = before


def _layers(model: PreTrainedModel) -> list[GradientCheckpointingLayer]:
    return [module for module in model.modules() if isinstance(module, GradientCheckpointingLayer)]


def _recomputed(layer: GradientCheckpointingLayer, config: PreTrainedConfig, *args: Any, **kwargs: Any) -> Any:
    forward = functools.partial(type(layer).forward, layer)
    if not torch.is_grad_enabled():
        return forward(*args, **kwargs)
    # The backward pass may come when another attention is set; it has to make again what the forward pass made.
    then = config._attn_implementation
    return checkpoint(
        forward,
        *args,
        use_reentrant=False,
        preserve_rng_state=False,  # nothing is drawn in evaluation mode
        context_fn=lambda: (nullcontext(), attention(config, then)),
        **kwargs,
    )
