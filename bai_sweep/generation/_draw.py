"""One token a row from logits and uniform numbers."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor


def uniform_numbers(max_new_tokens: int, rows: int, generator: torch.Generator | None) -> Float[Tensor, "tokens rows"]:
    """What `sample` draws tokens with: one number in [0, 1) for every token and row, fp64."""
    return torch.rand(max_new_tokens, rows, generator=generator, dtype=torch.float64)


def draw(
    logits: Float[Tensor, "rows vocab"], temperature: float, uniform: Float[Tensor, " rows"], top_p: float = 1.0
) -> tuple[Int[Tensor, " rows"], Float[Tensor, " rows"]]:
    """One token a row by inverting the cumulative distribution, summed in fp64, with its log-probability."""
    if temperature not in (0.0, 1.0):
        logits = logits / temperature
    logprobs = torch.log_softmax(logits, dim=-1)
    if temperature == 0.0:
        best = logprobs.max(dim=-1)
        return best.indices, best.values
    if top_p < 1.0:
        return _draw_from_nucleus(logprobs, uniform, top_p)
    cumulative = logprobs.exp().cumsum(dim=-1, dtype=torch.float64)
    threshold = (uniform * cumulative[:, -1])[:, None]
    tokens = torch.searchsorted(cumulative, threshold, right=True).clamp_(max=logits.shape[-1] - 1)
    return tokens[:, 0], logprobs.gather(1, tokens)[:, 0]


def _draw_from_nucleus(
    logprobs: Float[Tensor, "rows vocab"], uniform: Float[Tensor, " rows"], top_p: float
) -> tuple[Int[Tensor, " rows"], Float[Tensor, " rows"]]:
    """`draw` among the fewest most probable tokens whose probabilities reach `top_p`."""
    ordered = logprobs.sort(dim=-1, descending=True, stable=True)
    cumulative = ordered.values.exp().cumsum(dim=-1, dtype=torch.float64)
    last = (cumulative < top_p).sum(dim=-1, keepdim=True).clamp_(max=logprobs.shape[-1] - 1)
    mass = cumulative.gather(1, last)
    place = torch.searchsorted(cumulative, uniform[:, None] * mass, right=True).minimum(last)
    tokens = ordered.indices.gather(1, place)
    return tokens[:, 0], logprobs.gather(1, tokens)[:, 0] - mass[:, 0].log().float()
