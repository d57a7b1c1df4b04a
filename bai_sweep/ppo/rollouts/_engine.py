"""Rollout engines: what turns prompts into the actor's completions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Protocol, final, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor
from transformers import PreTrainedModel

from bai_sweep.generation import Samples, sample
from bai_sweep.records import UserError


@runtime_checkable
class RolloutEngine(Protocol):
    """Samples from the actor. The trainer calls `sync` and then `generate` at every step, and `close` once."""

    def sync(self) -> None:
        """Gives the engine the actor's present weights."""

    def generate(self, prompts: Sequence[Sequence[int]], uniform: Float[Tensor, "tokens rows"]) -> Samples:
        """One completion a prompt.

        Args:
            prompts: Token ids, of this process.
            uniform: Random numbers, one a row and token; equal numbers give equal completions.
        """
        ...

    def close(self) -> None:
        """Releases what the engine holds."""


WIDE = 512
"""Hidden size from which a CPU samples faster in bf16."""


@final
class HFEngine:
    """The sampler of bai_sweep.generation on the live actor: nothing to synchronise.

    Args:
        actor: The policy.
        max_new_tokens: Of a completion.
        temperature: Of sampling.
        eos_token_ids: Tokens that end a completion.
        precision: bf16: sample under autocast, where that is faster.
        static_cache: Give every decoding step the same shapes.
    """

    def __init__(
        self,
        actor: PreTrainedModel,
        *,
        max_new_tokens: int,
        temperature: float,
        eos_token_ids: Sequence[int],
        precision: Literal["fp32", "bf16"] = "fp32",
        static_cache: bool = False,
    ) -> None:
        self.actor, self.max_new_tokens, self.temperature = actor, max_new_tokens, temperature
        self.eos_token_ids, self.static_cache = tuple(eos_token_ids), static_cache
        # Decoding reads weights, so half the bytes are half the time; but a narrow model on a CPU spends longer on
        # casting (64 tokens on one core: width 576, 16 rows, 8.3 s in fp32, 4.9 s in bf16; width 128, 64 rows, 0.39
        # and 0.47).
        narrow = actor.device.type == "cpu" and actor.config.get_text_config().hidden_size < WIDE
        self.half = precision == "bf16" and not narrow

    def sync(self) -> None:
        """The actor is the engine's own model."""

    def generate(self, prompts: Sequence[Sequence[int]], uniform: Float[Tensor, "tokens rows"]) -> Samples:
        """One completion a prompt, sampled until EOS or `max_new_tokens`.

        Raises:
            UserError: The model cannot have the static cache that was asked for.
        """
        try:
            with torch.autocast(self.actor.device.type, torch.bfloat16, enabled=self.half):
                return sample(
                    self.actor,
                    prompts,
                    max_new_tokens=self.max_new_tokens,
                    temperature=self.temperature,
                    eos_token_ids=self.eos_token_ids,
                    uniform=uniform,
                    static_cache=self.static_cache,
                )
        except ValueError as error:
            if not self.static_cache:
                raise
            raise UserError(f"rl.static_cache=true needs a model that can have one; {error}") from error

    def close(self) -> None:
        """Nothing is held."""
