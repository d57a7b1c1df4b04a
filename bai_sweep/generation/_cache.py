"""A KV cache that grows in place and from which finished rows can be taken out.

transformers' `DynamicLayer` concatenates, which copies the whole cache at every token. `GrowingLayer` writes into a
buffer of the final size and hands out views of it. Models whose cache has anything but plain full attention
(sliding windows, state spaces) keep transformers' own cache. `FixedLayer` hands out the whole buffer at every token,
so that all decoding steps have one shape and a compiler can record one as a CUDA graph.
"""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor
from transformers import DynamicCache, PreTrainedModel
from transformers.cache_utils import Cache, DynamicLayer, StaticLayer


class GrowingLayer(DynamicLayer):  # type: ignore[no-untyped-call]  # transformers is typed in part
    """A `DynamicLayer` over a buffer of `capacity` positions; `keys` and `values` are views of its filled part."""

    def __init__(self, capacity: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.capacity = capacity
        self._buffers: tuple[Tensor, Tensor] | None = None

    def update(self, key_states: Tensor, value_states: Tensor, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
        """Appends keys and values of shape (rows, heads, new positions, head size); returns all of them."""
        if self._buffers is None:
            self._buffers = (self._allocate(key_states), self._allocate(value_states))
            self.is_initialized = True
        start = 0 if self.keys is None else self.keys.shape[-2]
        rows, new = key_states.shape[0], key_states.shape[-2]
        keys, values = self._buffers
        keys[:rows, :, start : start + new] = key_states
        values[:rows, :, start : start + new] = value_states
        self.keys, self.values = keys[:rows, :, : start + new], values[:rows, :, : start + new]
        return self.keys, self.values

    def reorder_cache(self, beam_idx: Tensor) -> None:
        """Keeps the rows `beam_idx`, moved to the front of the buffer."""
        if self._buffers is None or self.keys is None or self.values is None:
            return
        keys, values = self._buffers
        rows, filled = len(beam_idx), self.keys.shape[-2]
        keys[:rows, :, :filled] = self.keys[beam_idx]
        values[:rows, :, :filled] = self.values[beam_idx]
        self.keys, self.values = keys[:rows, :, :filled], values[:rows, :, :filled]

    def _allocate(self, like: Tensor) -> Tensor:
        rows, heads, _, size = like.shape
        return like.new_empty(rows, heads, self.capacity, size)


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


def make_cache(model: PreTrainedModel, capacity: int, *, static: bool = False) -> Cache:
    """An empty cache for `capacity` positions: of our layers where the model has plain full attention only.

    Raises:
        ValueError: `static` is asked of another model.
    """
    cache = DynamicCache(config=model.config)
    if cache.layers and all(type(layer) is DynamicLayer for layer in cache.layers):
        return Cache(layers=[FixedLayer(capacity) if static else GrowingLayer(capacity) for _ in cache.layers])
    if static:
        raise ValueError(
            "a static cache needs full attention in every layer; "
            f"{model.config.model_type!r} has another kind; leave static_cache out"
        )
    return cache


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
