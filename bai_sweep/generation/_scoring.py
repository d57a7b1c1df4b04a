"""Log-probabilities of chosen tokens, and of no others.

Rows are padded on the right, where causal attention makes padding invisible to every real token; so no mask and no
position ids are needed, and the hidden states of just the positions asked for go through the output head.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple, final

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from transformers import PreTrainedModel
from transformers.cache_utils import Cache

CHUNK_LOGITS = 2**24
"""Logits made at a time: 64 MB in fp32."""

KEPT_CHUNKS = 4
"""With gradients, logits of up to this many chunks stay in memory until the backward pass."""


class TokenScores(NamedTuple):
    """What a model says of N chosen tokens.

    Args:
        logprobs: Shape (N,), fp32, nats.
        entropies: Shape (N,), fp32, nats, of the distribution each stands in; None unless asked for.
        greedy: Shape (N,), whether the token is the most probable one; None unless asked for.
    """

    logprobs: Float[Tensor, " n"]
    entropies: Float[Tensor, " n"] | None
    greedy: Bool[Tensor, " n"] | None


def pad_right(rows: Sequence[Sequence[int]], *, device: torch.device, fill: int = 0) -> Int[Tensor, "rows length"]:
    """Rows of different lengths as one tensor, filled on the right."""
    longest = max(len(row) for row in rows)
    return torch.tensor([[*row, *[fill] * (longest - len(row))] for row in rows], device=device)


def hidden_at(
    backbone: nn.Module,
    input_ids: Int[Tensor, "rows length"],
    rows: Int[Tensor, " n"],
    positions: Int[Tensor, " n"],
    past: Cache | None = None,
) -> Float[Tensor, "n hidden"]:
    """The last hidden states of a headless causal model at N (row, position) pairs of right-padded rows.

    `past` is the head that every row begins with, of which `input_ids` and `positions` then know nothing.
    """
    hidden: Tensor = backbone(input_ids=input_ids, **_with(past)).last_hidden_state
    return _at(hidden, rows, positions)


@final
class TokenScorer:
    """Scores tokens under one causal language model.

    Whether the model's logits are nothing but its output head over its hidden states is tried out once, here: then
    the head runs over the chosen positions only, in chunks. Architectures that do more (soft caps, scales) go
    through their own forward pass, which makes the logits of every position between the first and the last chosen.
    """

    def __init__(self, model: PreTrainedModel) -> None:
        self.model = model
        self.backbone: nn.Module = model.base_model
        self.head: nn.Module = model.get_output_embeddings()  # type: ignore[no-untyped-call]
        self.plain = self._logits_are_the_heads()

    def score(
        self,
        input_ids: Int[Tensor, "rows length"],
        rows: Int[Tensor, " n"],
        positions: Int[Tensor, " n"],
        targets: Int[Tensor, " n"],
        *,
        temperature: float = 1.0,
        entropy: bool = False,
        entropy_grad: bool = False,
        greedy: bool = False,
        chunk_logits: int = CHUNK_LOGITS,
        past: Cache | None = None,
    ) -> TokenScores:
        """Scores `targets[k]` as the token that follows `input_ids[rows[k], : positions[k] + 1]`.

        Logits are made in chunks and turned into fp32 log-probabilities at once; with gradients and more than
        `KEPT_CHUNKS` chunks, they are made again in the backward pass, so memory does not grow with N times the
        vocabulary.

        Args:
            input_ids: Rows padded on the right with any valid token.
            rows: Row of each token.
            positions: Position of the token before it.
            targets: The tokens.
            temperature: Logits are divided by it (above 0).
            entropy: Compute entropies too.
            entropy_grad: Let them carry gradient, for an entropy bonus.
            greedy: Tell which tokens are the most probable.
            chunk_logits: Most logits in memory at a time.
            past: The head that stands before `input_ids` in every row (`head_of`); left as it is.
        """
        features, head = self._features(input_ids, rows, positions, past)
        size: int = max(1, chunk_logits // self.model.config.get_text_config().vocab_size)
        chunk = partial(
            _score_chunk, head, temperature=temperature, entropy=entropy, entropy_grad=entropy_grad, greedy=greedy
        )
        # One pass more through the head costs a tenth of a training step of a 135M-parameter model.
        again = torch.is_grad_enabled() and len(features) > KEPT_CHUNKS * size
        parts = [
            checkpoint(chunk, h, t, use_reentrant=False) if again else chunk(h, t)
            for h, t in zip(torch.split(features, size), torch.split(targets, size), strict=True)
        ]
        logprobs, entropies, is_greedy = (torch.cat(part) for part in zip(*parts, strict=True))
        return TokenScores(logprobs, entropies if entropy else None, is_greedy if greedy else None)

    def _features(
        self, input_ids: Tensor, rows: Tensor, positions: Tensor, past: Cache | None
    ) -> tuple[Tensor, nn.Module]:
        """Hidden states with the head to put on them, or finished logits with a head that changes nothing."""
        if self.plain:
            return hidden_at(self.backbone, input_ids, rows, positions, past), self.head
        first, last = int(positions.min()), int(positions.max())
        kept = torch.arange(first, last + 1, device=input_ids.device)
        logits: Tensor = self.model(input_ids=input_ids, logits_to_keep=kept, **_with(past)).logits
        return _at(logits, rows, positions - first), nn.Identity()

    @torch.inference_mode()
    def _logits_are_the_heads(self) -> bool:
        if self.backbone is self.model or not isinstance(self.head, nn.Module):
            return False
        probe = torch.arange(2, device=self.model.device)[None]
        hidden = self.backbone(input_ids=probe, use_cache=False).last_hidden_state
        return torch.equal(self.head(hidden), self.model(input_ids=probe, use_cache=False).logits)


def _with(past: Cache | None) -> dict[str, Any]:
    return {"use_cache": False} if past is None else {"use_cache": True, "past_key_values": past}


def _at(states: Float[Tensor, "rows length size"], rows: Tensor, positions: Tensor) -> Float[Tensor, "n size"]:
    return states.reshape(-1, states.shape[-1]).index_select(0, rows * states.shape[1] + positions)


def _score_chunk(
    head: nn.Module,
    features: Float[Tensor, "n size"],
    targets: Int[Tensor, " n"],
    *,
    temperature: float,
    entropy: bool,
    entropy_grad: bool,
    greedy: bool,
) -> tuple[Float[Tensor, " n"], Float[Tensor, " n"], Bool[Tensor, " n"]]:
    """Log-probabilities, and entropies and greediness where they are asked for (unset otherwise)."""
    logits: Tensor = head(features)
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    if temperature != 1.0:
        logits = logits / temperature
    logprobs = torch.log_softmax(logits, dim=-1)
    chosen = logprobs.gather(1, targets[:, None])[:, 0]
    entropies = torch.empty_like(chosen.detach())
    if entropy:
        table = logprobs if entropy_grad else logprobs.detach()
        entropies = -(table.exp() * table).sum(dim=-1)
    most = logits.detach().argmax(dim=-1) == targets if greedy else torch.empty_like(targets, dtype=torch.bool)
    return chosen, entropies, most
