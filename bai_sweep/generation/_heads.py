"""What several rows begin with, computed once: a head of one row's keys and values, which the rows go on from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast, final

import torch
from torch import Tensor
from transformers import DynamicCache, PreTrainedModel
from transformers.cache_utils import Cache, DynamicLayer


@final
class HeadLayer(DynamicLayer):
    """A layer of a cache that holds a head, (1, heads, positions, head size), and nothing of the rows that pass.

    Scoring reads each position once. So what a layer computes is needed until the layer is through, and not kept as
    decoding keeps it: memory is as without a head.
    """

    def __init__(self, keys: Tensor, values: Tensor) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.keys, self.values, self.is_initialized = keys, values, True

    def update(self, key_states: Tensor, value_states: Tensor, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
        """Keys and values of shape (rows, heads, new positions, head size) after the head's, which stays alone."""
        keys, values = _of_rows(self, len(key_states))
        return torch.cat([keys, key_states], dim=-2), torch.cat([values, value_states], dim=-2)


def head_of(model: PreTrainedModel, tokens: Sequence[int]) -> Cache:
    """The keys and values of one row of tokens; it lasts for any number of passes over rows that begin with them."""
    cache = DynamicCache(config=model.config)
    ids = torch.tensor([list(tokens)], device=model.device)
    model.base_model(input_ids=ids, past_key_values=cache, use_cache=True)
    layers = cast(list[DynamicLayer], cache.layers)
    if any(layer.get_seq_length() != len(tokens) for layer in layers):
        raise ValueError(f"{model.config.model_type!r} keeps no keys and values; leave out what rows share")
    return Cache(layers=[HeadLayer(cast(Tensor, layer.keys), cast(Tensor, layer.values)) for layer in layers])


def give(cache: Cache, head: Cache, rows: int) -> None:
    """Puts a head before every row of an empty cache; the head is left as it is."""
    for layer, computed in zip(cache.layers, head.layers, strict=True):
        cast(DynamicLayer, layer).update(*_of_rows(cast(DynamicLayer, computed), rows))


def _of_rows(layer: DynamicLayer, rows: int) -> tuple[Tensor, Tensor]:
    keys, values = cast(Tensor, layer.keys), cast(Tensor, layer.values)
    return keys.expand(rows, -1, -1, -1), values.expand(rows, -1, -1, -1)
