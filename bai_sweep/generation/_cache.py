"""A KV cache that grows in place and from which rows can be taken out.

transformers' `DynamicLayer` concatenates, which copies the whole cache at every token. `GrowingLayer` writes into a
buffer with room to spare and hands out views of it. Models whose cache has anything but plain full attention
(sliding windows, state spaces) keep transformers' own cache. `FixedLayer` hands out the whole buffer at every token,
so that all decoding steps have one shape and a compiler can record one as a CUDA graph.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor
from transformers import DynamicCache, PreTrainedModel
from transformers.cache_utils import Cache, DynamicLayer, StaticLayer


@dataclass(frozen=True)
class Growth:
    """How the buffers of a cache grow.

    Args:
        limit: Positions that are never exceeded.
        first: Positions of the first buffer; doubled when it is full.
        budget: Rows times positions that a buffer has at most, where it has more than one row; None for no bound.
    """

    limit: int
    first: int
    budget: int | None = None

    def capacity(self, rows: int, needed: int, present: int) -> int:
        """Positions of the next buffer: enough for `needed`, after one of `present` (0 for the first)."""
        most = self.limit
        if self.budget is not None and rows > 1:
            most = min(most, self.budget // rows)
        return max(needed, min(most, max(self.first, 2 * present)))


class GrowingLayer(DynamicLayer):  # type: ignore[no-untyped-call]  # transformers is typed in part
    """A `DynamicLayer` over a buffer with room to spare; `keys` and `values` are views of its filled part."""

    def __init__(self, growth: Growth) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.growth = growth
        self._buffers: list[Tensor] = []

    def update(self, key_states: Tensor, value_states: Tensor, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
        """Appends keys and values of shape (rows, heads, new positions, head size); returns all of them."""
        start = 0 if self.keys is None else self.keys.shape[-2]
        rows, end = key_states.shape[0], start + key_states.shape[-2]
        if not self._buffers or end > self._buffers[0].shape[-2]:
            self._grow(key_states, value_states, end)
        keys, values = self._buffers
        keys[:rows, :, start:end] = key_states
        values[:rows, :, start:end] = value_states
        self.keys, self.values = keys[:rows, :, :end], values[:rows, :, :end]
        return self.keys, self.values

    def reorder_cache(self, beam_idx: Tensor) -> None:
        """Keeps the rows `beam_idx`, moved to the front of the buffer."""
        if self.keys is None or self.values is None:
            return
        keys, values = self._buffers
        rows, filled = len(beam_idx), self.keys.shape[-2]
        keys[:rows, :, :filled] = self.keys[beam_idx]
        values[:rows, :, :filled] = self.values[beam_idx]
        self.keys, self.values = keys[:rows, :, :filled], values[:rows, :, :filled]

    def _grow(self, key_states: Tensor, value_states: Tensor, needed: int) -> None:
        """Moves to buffers for `needed` positions and more, which hold the rows that are left and no others."""
        present = self._buffers[0].shape[-2] if self._buffers else 0
        capacity = self.growth.capacity(len(key_states), needed, present)
        self._buffers = [_larger(self.keys, key_states, capacity), _larger(self.values, value_states, capacity)]
        self.is_initialized = True


def _larger(filled: Tensor | None, like: Tensor, capacity: int) -> Tensor:
    rows, heads, _, size = like.shape
    buffer = like.new_empty(rows, heads, capacity, size)
    if filled is not None:
        buffer[:, :, : filled.shape[-2]] = filled
    return buffer


class FixedLayer(StaticLayer):
    """transformers' `StaticLayer` for keys and values of different dtypes, from which rows can be taken out."""

    def update(self, key_states: Tensor, value_states: Tensor, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
        """Writes keys and values of shape (rows, heads, new positions, head size); returns the whole buffers."""
        # Rotary embeddings make fp32 keys beside bf16 values under autocast; StaticLayer has one dtype for both.
        both: tuple[Tensor, Tensor] = super().update(key_states, value_states.to(key_states.dtype))
        return both

    def reorder_cache(self, beam_idx: Tensor) -> None:
        """Keeps the rows `beam_idx` in new buffers, whose addresses a CUDA graph may rely on."""
        self.keys, self.values = self.keys[beam_idx], self.values[beam_idx]  # type: ignore[index]
        for buffer in (self.keys, self.values):
            torch._dynamo.mark_static_address(buffer)  # type: ignore[no-untyped-call]


def make_cache(model: PreTrainedModel, growth: Growth, *, static: bool = False) -> Cache:
    """An empty cache: of our layers where the model has plain full attention only; static ones have `growth.limit`.

    Raises:
        ValueError: `static` is asked of another model.
    """
    cache = DynamicCache(config=model.config)
    if has_plain_cache(model):
        return Cache(layers=[FixedLayer(growth.limit) if static else GrowingLayer(growth) for _ in cache.layers])
    if static:
        raise ValueError(
            "a static cache needs full attention in every layer; "
            f"{model.config.model_type!r} has another kind; leave static_cache out"
        )
    return cache


def has_plain_cache(model: PreTrainedModel) -> bool:
    """Whether every layer attends to everything before it, so that a cache can be handed from row to row."""
    layers = DynamicCache(config=model.config).layers
    return bool(layers) and all(type(layer) is DynamicLayer for layer in layers)


def keep_rows(cache: Cache, indices: Tensor) -> None:
    """Drops all rows of a cache but `indices`."""
    # Typed LongTensor by transformers, which a Tensor of int64 is.
    cache.reorder_cache(
        cast(torch.LongTensor, indices)
    )  # made for beam search; the one selection every kind of layer has


def additive_mask(real: Tensor, dtype: torch.dtype) -> Tensor:
    """0 where `real` (rows, positions) is True and the dtype's minimum elsewhere, as (rows, 1, 1, positions)."""
    mask = torch.zeros(real.shape, dtype=dtype, device=real.device)
    return mask.masked_fill_(~real, torch.finfo(dtype).min)[:, None, None, :]
