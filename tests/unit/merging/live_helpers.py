"""Actors over tiny models, and the merges that a test compares."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch

from bai_sweep.config import DepthMerge, LayerAlphas, LinearMerge, MergedActor, ModelConfig, PartAlphas, PPOScale

SCALE = PPOScale(
    actor_learning_rate=1e-4,
    critic_learning_rate=1e-4,
    steps=1,
    batch_size=1,
    minibatch_size=1,
    max_new_tokens=1,
    critic_warmup_steps=0,
    gae_length_alpha=1.0,
    precision="fp32",
    micro_batch_tokens=None,
    gradient_checkpointing=False,
)


def model_config(family: Mapping[str, Path], dtype: str = "float32", **changes: object) -> ModelConfig:
    """base, instruct and distilled."""
    values = {
        "name": "tiny",
        "base": str(family["base"]),
        "sft": {"instruct": str(family["instruct"]), "distilled": str(family["distilled"])},
        "reward": None,
        "tokenizer": "base",
        "vocabulary": "union",
        "missing_tokens": "mean",
        "dtype": dtype,
        "ppo": SCALE,
    }
    return ModelConfig.model_validate({**values, **changes})


def bai(alpha: float, instruct: float = 0.5) -> MergedActor:
    """The paper's actor."""
    weights = {"instruct": instruct, "distilled": 1.0 - instruct}
    return MergedActor(kind="merge", name="bai", alpha=alpha, weights=weights, merge=LinearMerge(method="linear"))


def deep(alpha: float, first: float, last: float, instruct: float = 0.5, **parts: float) -> MergedActor:
    """One alpha per layer, and for some parts their own."""
    merge = DepthMerge(
        method="depth",
        layers=LayerAlphas(first=first, middle=None, last=last),
        parts=PartAlphas(**{p: parts.get(p) for p in ("embeddings", "attention", "mlp", "norms", "head")}),
    )
    weights = {"instruct": instruct, "distilled": 1.0 - instruct}
    return MergedActor(kind="merge", name="bai", alpha=alpha, weights=weights, merge=merge)


def bits(state: Mapping[str, torch.Tensor]) -> dict[str, bytes]:
    """Every tensor's bytes."""
    return {name: tensor.contiguous().view(torch.uint8).numpy().tobytes() for name, tensor in state.items()}
