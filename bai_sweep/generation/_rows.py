"""A batch of rows while it is decoded: left-padded, one KV cache, out of which rows are taken as they end."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from transformers import PreTrainedModel

from bai_sweep.generation._batches import PASS_TOKENS
from bai_sweep.generation._cache import FixedLayer, GrowingLayer, Growth, additive_mask, keep_rows, make_cache
from bai_sweep.generation._heads import give, head_of

DROP_SHARE = 0.1
"""Finished rows leave the batch once they are this share of it: each departure copies the cache once."""

SUSPEND_SHARE = 0.25
"""Where memory is used up, this share of the rows leaves at once, so that the others go on for a third of their
length before the next departure."""

SPARE = 128
"""A cache that grows has room for this many tokens after the prompts before it grows for the first time."""

Stop = Callable[[Sequence[int]], bool]


@dataclass(frozen=True)
class Begun:
    """What rows begin with.

    Args:
        prompts: Token ids, none of them empty.
        shared: How many leading tokens all of them have in common: fed once, where the cache is one of ours.
        drawn: How many of each prompt's last tokens belong to its response, of rows that are continued.
    """

    prompts: Sequence[Sequence[int]]
    shared: int = 0
    drawn: Sequence[int] = ()


@dataclass(frozen=True)
class Room:
    """What the cache of a batch may take.

    Args:
        budget: Rows times filled positions. Where the next token would exceed it, the last rows are suspended; one
            row always goes on, whatever it takes.
        few: Where no more rows than this are left, they are suspended too, once feeding them again later costs less
            than as many forward passes as they have had.
    """

    budget: int
    few: int = 0


@final
class Rows:
    """The state of a batch; `live` maps its rows to those of the caller.

    A row of the cache is [what the prompts share][padding][what the prompt has of its own][new tokens].
    """

    def __init__(
        self,
        model: PreTrainedModel,
        begun: Begun,
        limits: Sequence[int],
        *,
        static: bool = False,
        room: Room | None = None,
    ) -> None:
        if static and not _reads_additive_masks(model):
            raise ValueError("a static cache needs sdpa or eager attention without ALiBi; leave static_cache out")
        if static and room is not None:
            raise ValueError("a static cache does not grow; leave room or static_cache out")
        prompts, device = begun.prompts, model.device
        self.model, self.static, self.room = model, static, room
        rows, longest, new = len(prompts), max(map(len, prompts)), max(limits)
        first = longest + (new if room is None else min(new, SPARE))
        self.cache = make_cache(
            model, Growth(longest + new, first, None if room is None else room.budget), static=static
        )
        self.live = torch.arange(rows, device=device)
        self.done = torch.zeros(rows, dtype=torch.bool, device=device)  # of the live rows
        self.tokens = torch.zeros(rows, new, dtype=torch.long, device=device)
        self.logprobs = torch.zeros(rows, new, device=device)
        self.limits = torch.tensor(list(limits), device=device)
        self.lengths = self.limits.clone()
        self.ended = torch.zeros(rows, dtype=torch.bool, device=device)
        self.left = rows  # live and not done
        self.over = False  # whether there are none of these
        self.texts = [list(p[len(p) - d :]) for p, d in zip(prompts, begun.drawn or [0] * rows, strict=True)]
        self.places = torch.tensor([[len(prompt)] for prompt in prompts], device=device)  # of the newest tokens
        self.filled = longest
        self.shared = begun.shared if isinstance(self.cache.layers[0], GrowingLayer) else 0
        place = torch.arange(longest + new, device=device)
        self.real = (place < self.shared) | (place >= self.shared + longest - self.places)
        self._ends_of_limits = frozenset(limits) - {new}  # the last is the batch's end
        self.logits = self._prefill(prompts)
        self.mask = self._decoding_mask()

    def store(self, step: int, tokens: Int[Tensor, " rows"], logprobs: Float[Tensor, " rows"]) -> None:
        """Keeps one new token of every live row."""
        self.newest = tokens
        self.tokens[self.live, step] = tokens
        self.logprobs[self.live, step] = logprobs

    def stopped(self, stop: Stop) -> Bool[Tensor, " rows"]:
        """What `stop` says of the live rows, to be asked after every token."""
        said = []
        for row, done, token in zip(self.live.tolist(), self.done.tolist(), self.newest.tolist(), strict=True):
            self.texts[row].append(token)
            said.append(not done and stop(self.texts[row]))
        return torch.tensor(said, device=self.live.device)

    def finish(self, ends: Bool[Tensor, " rows"], step: int) -> None:
        """Ends rows after their token number `step`; drops the finished once there are enough of them."""
        full = step + 1 in self._ends_of_limits
        if not full and not ends.any():
            return
        rows = self.live[ends & ~self.done]
        self.lengths[rows] = step + 1
        self.ended[rows] = True
        self.done |= ends
        if full:
            self.done |= self.limits[self.live] == step + 1
        self.left = left = len(self.live) - int(self.done.sum())
        self.over = left == 0
        half = (len(self.live) + 1) // 2
        if self.over:
            return
        if self.static and left <= half < len(self.live):
            self._keep(self.done.argsort(stable=True)[:half])  # the first of the finished fill it up
        elif not self.static and left <= (1 - DROP_SHARE) * len(self.live):
            self._keep((~self.done).nonzero()[:, 0])

    def suspend(self, step: int) -> None:
        """Suspends rows after their token number `step` where there is no room for them (`Room`)."""
        if self.room is None or self.over:
            return
        if self.left <= self.room.few and self.left * self.filled <= PASS_TOKENS * (step + 1):
            self.lengths[self.live[~self.done]] = step + 1
            self.over = True
        elif len(self.live) > 1 and len(self.live) * (self.filled + 1) > self.room.budget:
            self._make_room(self.room.budget // (self.filled + 1), step)

    def _make_room(self, most: int, step: int) -> None:
        left = (~self.done).nonzero()[:, 0]
        if self.left > most:
            self.left = max(1, min(most, int((1 - SUSPEND_SHARE) * self.left)))
            self.lengths[self.live[left[self.left :]]] = step + 1
        self._keep(left[: self.left])

    def advance(self) -> None:
        """Feeds the newest token of every live row."""
        self.filled += 1
        self.logits = self._forward(self.newest[:, None], self.places, self._mask_now())
        self.places = self.places + 1

    def _keep(self, kept: Int[Tensor, " kept"]) -> None:
        keep_rows(self.cache, kept)
        self.live, self.done, self.newest = self.live[kept], self.done[kept], self.newest[kept]
        self.places, self.real = self.places[kept], self.real[kept]
        self.mask = None if self.mask is None else self.mask[kept]

    def _mask_now(self) -> Tensor:
        """What the next token attends to."""
        if self.mask is None:
            return self.real[:, : self.filled]
        if not self.static:
            return self.mask[..., : self.filled]
        self.mask[..., self.filled - 1] = 0.0
        return self.mask

    def _prefill(self, prompts: Sequence[Sequence[int]]) -> Float[Tensor, "rows vocab"]:
        shared = self.shared
        if shared:
            give(self.cache, head_of(self.model, prompts[0][:shared]), len(prompts))
        own = [[0] * (self.filled - len(p)) + list(p[shared:]) for p in prompts]
        ids = torch.tensor(own, device=self.live.device)
        places = (torch.arange(shared, self.filled, device=ids.device) - self.filled + self.places).clamp_(min=0)
        return self._forward(ids, places, self.real[:, : self.filled])

    def _decoding_mask(self) -> Tensor | None:
        """The additive mask of all steps, so that transformers need not make one at each; None where it must."""
        layer = self.cache.layers[0]
        keys = layer.keys if isinstance(layer, GrowingLayer | FixedLayer) else None
        if keys is None or not _reads_additive_masks(self.model):
            return None
        seen = self.real
        if self.static:  # the rest of the buffer is empty
            seen = seen & (torch.arange(seen.shape[1], device=seen.device) < self.filled)
        return additive_mask(seen, keys.dtype)  # under autocast this is not the model's dtype

    def _forward(self, ids: Tensor, places: Tensor, mask: Tensor) -> Float[Tensor, "rows vocab"]:
        logits: Tensor = self.model(
            input_ids=ids,
            position_ids=places,
            attention_mask=mask,
            past_key_values=self.cache,
            use_cache=True,
            logits_to_keep=1,
        ).logits
        return logits[:, -1].float()


def _reads_additive_masks(model: PreTrainedModel) -> bool:
    """Not those that make ALiBi's biases from a mask of shape (rows, positions), which are Bloom and Falcon."""
    config = model.config
    alibi = config.model_type == "bloom" or getattr(config, "alibi", False)
    return config._attn_implementation in ("sdpa", "eager") and not alibi
