"""The networks of a training run, and how they compute."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from transformers import PreTrainedModel

from bai_sweep.config import PPOSettings
from bai_sweep.generation import TokenScorer
from bai_sweep.ppo._scalar import ScalarModel
from bai_sweep.records import UserError

SHORT = 512
"""Sequences of up to this many tokens train faster without a fused attention kernel on a CPU."""


@dataclass(frozen=True)
class Networks:
    """Actor and critic, which are trained, and the reference, a frozen copy of the actor as it was.

    All stay in evaluation mode: with dropout, the ratio of new to old policy would not be 1 where they are equal.
    """

    actor: PreTrainedModel
    reference: PreTrainedModel
    critic: ScalarModel
    policy: TokenScorer
    reference_policy: TokenScorer
    precision: str
    longest: int

    @classmethod
    def of(cls, actor: PreTrainedModel, settings: PPOSettings, device: torch.device, longest: int) -> Networks:
        """Sets up the networks for rows of up to `longest` tokens.

        Raises:
            UserError: The rows do not fit the actor's positions, or the critic knows fewer tokens than the actor.
        """
        _check_length(actor, longest)
        actor.to(device).eval().requires_grad_(True)  # type: ignore[arg-type]  # typed for tensors only
        critic = _critic(actor, settings, device)
        reference = copy.deepcopy(actor).requires_grad_(False)
        return cls(actor, reference, critic, TokenScorer(actor), TokenScorer(reference), settings.precision, longest)

    @contextmanager
    def computing(self) -> Iterator[None]:
        """The precision and the attention of scoring and training."""
        device = self.actor.device.type
        models = (self.actor, self.reference, self.critic.backbone)
        before = [model.config._attn_implementation for model in models]
        # Measured on a 0.85M-parameter Llama, 8 rows of 130 tokens in bf16, forward and backward: eager 45 ms, SDPA's
        # math kernel 52 ms, its flash kernel 77 ms.
        eager = device == "cpu" and self.longest <= SHORT
        for model in models if eager else ():
            model.set_attn_implementation("eager")
        try:
            with torch.autocast(device, torch.bfloat16, enabled=self.precision == "bf16"):
                yield
        finally:
            for model, implementation in zip(models, before, strict=True):
                if model.config._attn_implementation != implementation:
                    model.set_attn_implementation(implementation)


def _check_length(actor: PreTrainedModel, longest: int) -> None:
    config = actor.config.get_text_config()
    positions = getattr(config, "max_position_embeddings", None)
    if positions is not None and longest > positions:
        raise UserError(
            f"prompt and completion fit in the model's {positions} positions; the longest prompt and "
            f"rl.max_new_tokens make {longest}; lower rl.max_new_tokens"
        )
    # LongRoPE turns all keys by other frequencies once a batch is longer than the original positions. The sampler's
    # cache keeps keys turned by the old ones, so old and new policy would differ. (`dynamic` RoPE does so past
    # max_position_embeddings, which is refused above.)
    rope = getattr(config, "rope_parameters", None) or {}
    kinds = [rope, *(kind for kind in rope.values() if isinstance(kind, dict))]  # one for each type of layer
    for kind in kinds:
        if kind.get("rope_type") == "longrope" and longest > (original := kind["original_max_position_embeddings"]):
            raise UserError(
                f"prompt and completion fit in the {original} original_max_position_embeddings of a model with "
                f"longrope; the longest prompt and rl.max_new_tokens make {longest}; lower rl.max_new_tokens"
            )


def _critic(actor: PreTrainedModel, settings: PPOSettings, device: torch.device) -> ScalarModel:
    if settings.critic is None:
        return ScalarModel.beside(actor).eval()
    critic = ScalarModel.load(settings.critic, actor.dtype, device)
    known = actor.config.get_text_config().vocab_size
    if critic.vocabulary < known:
        raise UserError(
            f"the critic reads the actor's tokens; rl.critic={settings.critic!r} knows {critic.vocabulary} and the "
            f"actor {known}; use one of the actor's family, or null to start from the actor"
        )
    return critic
