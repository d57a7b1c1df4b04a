"""Rollout engines: what turns prompts into the actor's completions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, final, runtime_checkable

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


@final
class HFEngine:
    """The sampler of bai_sweep.generation on the live actor: nothing to synchronise."""

    def __init__(
        self,
        actor: PreTrainedModel,
        *,
        max_new_tokens: int,
        temperature: float,
        eos_token_ids: Sequence[int],
        static_cache: bool = False,
    ) -> None:
        self.actor, self.max_new_tokens, self.temperature = actor, max_new_tokens, temperature
        self.eos_token_ids, self.static_cache = tuple(eos_token_ids), static_cache

    def sync(self) -> None:
        """The actor is the engine's own model."""

    def generate(self, prompts: Sequence[Sequence[int]], uniform: Float[Tensor, "tokens rows"]) -> Samples:
        """One completion a prompt, sampled until EOS or `max_new_tokens`.

        Raises:
            UserError: The model cannot have the static cache that was asked for.
        """
        try:
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
