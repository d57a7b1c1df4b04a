"""A batch of prompts with the policy's responses, laid out for training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from bai_sweep.generation import Samples
from bai_sweep.ppo.formulas import length_mask

PASS_TOKENS = 256
"""What one more pass through the networks costs, in tokens.

Measured with the testbed's 0.85M-parameter actor and critic, bf16, one core: a forward and backward pass takes 17 ms
and 0.067 ms a padded token, a scoring pass 9 ms and 0.035 ms; 250 tokens either way. Training on a batch took 0.39,
0.50 and 1.40 s with a pass for each minibatch (alpha 0.1 and 0.9, distilled: the longer, the more padding), and 0.31,
0.41 and 0.86 s cut so; at 128 and 512 tokens a pass it is within 15 % of that.
"""


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


class Places(NamedTuple):
    """Where flat response tokens stand in a tensor of shape (rows of the batch, longest response)."""

    rows: Int[Tensor, " tokens"]
    columns: Int[Tensor, " tokens"]


@dataclass(frozen=True)
class Rollout:
    """Prompts and responses of one step.

    Args:
        input_ids: Shape (rows, length), prompt and response together, padded on the right.
        prompt_lengths: Shape (rows,).
        lengths: Shape (rows,), response tokens, the EOS included.
        ended: Shape (rows,), whether the response ended by itself.
        mask: Shape (rows, longest response), True on response tokens.
        sampled_logprobs: Shape (rows, longest response), what the sampler gave each token; NaN where it does not know.
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

    def responses(self) -> list[list[int]]:
        """The token ids of the responses alone."""
        rows: list[list[int]] = self.input_ids.tolist()
        starts, lengths = self.prompt_lengths.tolist(), self.lengths.tolist()
        return [row[start : start + n] for row, start, n in zip(rows, starts, lengths, strict=True)]

    def response_tokens(self, rows: Int[Tensor, " chosen"]) -> tuple[ResponseTokens, Places]:
        """The response tokens of some rows, whose padding is cut to the longest among them, and where they stand."""
        input_ids = self.input_ids[rows, : int(self.totals[rows].max())]
        row, column = self.mask[rows].nonzero(as_tuple=True)
        positions = self.prompt_lengths[rows][row] - 1 + column
        return ResponseTokens(input_ids, row, positions, input_ids[row, positions + 1]), Places(rows[row], column)

    def by_length(self, rows: Int[Tensor, " some"], budget: int | None) -> tuple[Int[Tensor, " chosen"], ...]:
        """Some rows in groups of similar total length, longest first, each for one pass through the networks.

        Args:
            rows: The rows.
            budget: Most tokens in a group, padding included (a longer row is a group of its own); None: no limit.
        """
        order = rows[self.totals[rows].argsort(descending=True, stable=True)]
        return torch.split(order, group_sizes(self.totals[order].tolist(), budget)) if len(rows) else ()


def group_sizes(lengths: Sequence[int], budget: int | None) -> list[int]:
    """How many rows go together so that padding and passes cost least.

    A group of `n` rows costs `n * its longest row + PASS_TOKENS`; of all ways to cut the sorted rows into groups
    within the budget, the cheapest (by dynamic programming over where the last group begins).

    Args:
        lengths: Tokens of each row, longest first.
        budget: Most tokens in a group, padding included; a longer row is a group of its own. None: no limit.

    Returns:
        The number of rows of each group, from the longest rows on.
    """
    heights, cheapest, begins = np.asarray(lengths), np.zeros(len(lengths) + 1), [0] * (len(lengths) + 1)
    for end in range(1, len(lengths) + 1):
        tokens = heights[:end] * np.arange(end, 0, -1)
        costs = cheapest[:end] + tokens + PASS_TOKENS
        if budget is not None:
            costs[:-1][tokens[:-1] > budget] = np.inf
        begins[end] = int(costs.argmin())
        cheapest[end] = costs[begins[end]]
    sizes, end = [], len(lengths)
    while end > 0:
        sizes.append(end - begins[end])
        end = begins[end]
    return sizes[::-1]
