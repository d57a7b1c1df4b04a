"""A batch of prompts with the policy's responses, laid out for training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from bai_sweep.generation import Samples
from bai_sweep.ppo._math import length_mask


class ResponseTokens(NamedTuple):
    """Every response token of some rows, flat, row after row.

    Args:
        input_ids: Shape (rows, length), prompt and response, padded on the right.
        rows: Shape (tokens,), the row of each token.
        positions: Shape (tokens,), the position just before it: where it is predicted, and where its value stands.
        targets: Shape (tokens,), the token.
    """

    input_ids: Int[Tensor, "rows length"]
    rows: Int[Tensor, " tokens"]
    positions: Int[Tensor, " tokens"]
    targets: Int[Tensor, " tokens"]


@dataclass(frozen=True)
class Rollout:
    """Prompts and responses of one step.

    Args:
        input_ids: Shape (rows, length), prompt and response together, padded on the right.
        prompt_lengths: Shape (rows,).
        lengths: Shape (rows,), response tokens, the EOS included.
        ended: Shape (rows,), whether the response ended by itself.
        mask: Shape (rows, longest response), True on response tokens.
        sampled_logprobs: Shape (rows, longest response), what the sampler gave each token.
    """

    input_ids: Int[Tensor, "rows length"]
    prompt_lengths: Int[Tensor, " rows"]
    lengths: Int[Tensor, " rows"]
    ended: Bool[Tensor, " rows"]
    mask: Bool[Tensor, "rows tokens"]
    sampled_logprobs: Float[Tensor, "rows tokens"]

    @classmethod
    def of(cls, prompts: Sequence[Sequence[int]], samples: Samples) -> Rollout:
        """Joins prompts and responses row by row."""
        joined = [[*p, *c] for p, c in zip(prompts, samples.completions(), strict=True)]
        longest, device = max(map(len, joined)), samples.tokens.device
        return cls(
            input_ids=torch.tensor([row + [0] * (longest - len(row)) for row in joined], device=device),
            prompt_lengths=torch.tensor([len(p) for p in prompts], device=device),
            lengths=samples.lengths,
            ended=samples.ended,
            mask=length_mask(samples.lengths, samples.tokens.shape[1]),
            sampled_logprobs=samples.logprobs,
        )

    @property
    def totals(self) -> Int[Tensor, " rows"]:
        """Prompt and response tokens of each row."""
        return self.prompt_lengths + self.lengths

    def response_tokens(self, rows: Int[Tensor, " chosen"]) -> ResponseTokens:
        """The response tokens of some rows, whose padding is cut to the longest among them."""
        input_ids = self.input_ids[rows, : int(self.totals[rows].max())]
        row, place = self.mask[rows].nonzero(as_tuple=True)
        positions = self.prompt_lengths[rows][row] - 1 + place
        return ResponseTokens(input_ids, row, positions, input_ids[row, positions + 1])

    def by_length(self, size: int) -> tuple[Int[Tensor, " chosen"], ...]:
        """All rows in groups of `size`, of similar total length."""
        return torch.split(self.totals.argsort(descending=True, stable=True), size)
