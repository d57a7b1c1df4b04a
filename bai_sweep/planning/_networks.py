"""What work and memory depend on of a network: numbers of parameters and shapes, read from headers without weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from typing import Any

from bai_sweep.merging.compatibility import part_of, settings_of

_ALIASES: Mapping[str, tuple[str, ...]] = {
    "layers": ("num_hidden_layers", "n_layer", "num_layers"),
    "hidden": ("hidden_size", "n_embd", "d_model"),
    "heads": ("num_attention_heads", "n_head"),
    "vocabulary": ("vocab_size",),
}
"""What configurations call the four numbers that every decoder has."""


@dataclass(frozen=True)
class Shape:
    """A decoder's widths, in numbers for one token.

    Args:
        layers: How many.
        hidden: Of the residual stream.
        heads: Of attention.
        queries: Of the queries of all heads, in one layer.
        keys: Of the keys of all heads, in one layer; the values are as many.
        inner: Of the feed-forward part.
        vocabulary: Rows of the embedding.
        positions: The most tokens in a row, None where nothing says so.
    """

    layers: int
    hidden: int
    heads: int
    queries: int
    keys: int
    inner: int
    vocabulary: int
    positions: int | None


@dataclass(frozen=True)
class Network:
    """One network.

    Args:
        parameters: All numbers that it holds.
        tensors: How many tensors these are.
        embedding: Numbers of the input embedding.
        head: Numbers of an output head of its own; 0 where the embedding is the head, or where there is none.
        headless: Whether there is no output head over the vocabulary: a critic, a reward model.
        linear: Rows and columns of each linear layer inside the decoder, by the module's name.
        shape: None where the configuration does not tell.
    """

    parameters: int
    tensors: int
    embedding: int
    head: int
    headless: bool
    linear: Mapping[str, tuple[int, int]]
    shape: Shape | None

    @property
    def multiplied(self) -> int:
        """Parameters that a token is multiplied with: all but those of an embedding that is only looked up."""
        return self.parameters - (self.embedding if self.headless or self.head else 0)

    def without_head(self) -> Network:
        """A critic that starts beside this network: its backbone under a head with one output."""
        hidden = self.shape.hidden if self.shape else 0
        return Network(
            parameters=self.parameters - self.head + hidden,
            tensors=self.tensors - bool(self.head) + 1,
            embedding=self.embedding,
            head=0,
            headless=True,
            linear=self.linear,
            shape=self.shape,
        )


def network_of(
    shapes: Mapping[str, tuple[int, ...]], config: Mapping[str, Any], *, tied: bool, scalar: bool = False
) -> Network:
    """A network by its tensors.

    Args:
        shapes: Of every parameter, by name.
        config: config.json, parsed.
        tied: Whether the head is the embedding; a head that is stored all the same is not counted.
        scalar: Whether its head has one output: a sequence-classification checkpoint.
    """
    parts = {name: part_of(name) for name in shapes}
    kept = {name: shape for name, shape in shapes.items() if not (tied and parts[name] == "head")}
    sizes = {name: prod(shape) for name, shape in kept.items()}
    return Network(
        parameters=sum(sizes.values()),
        tensors=len(kept),
        embedding=sum(size for name, size in sizes.items() if parts[name] == "embeddings"),
        head=0 if scalar else sum(size for name, size in sizes.items() if parts[name] == "head"),
        headless=scalar,
        linear={
            name.removesuffix(".weight"): (shape[0], shape[1])
            for name, shape in kept.items()
            if len(shape) == 2 and parts[name] in ("attention", "mlp") and name.endswith(".weight")
        },
        shape=shape_of(config),
    )


def shape_of(config: Mapping[str, Any]) -> Shape | None:
    """The widths that a config.json tells; None for a kind of model whose names for them are not known here."""
    settings = settings_of(config)
    found = {name: next((settings[key] for key in keys if key in settings), 0) for name, keys in _ALIASES.items()}
    if not all(found.values()):
        return None
    layers, hidden, heads, vocabulary = (int(found[name]) for name in ("layers", "hidden", "heads", "vocabulary"))
    size = settings.get("head_dim") or hidden // heads
    inner = settings.get("intermediate_size") or settings.get("n_inner") or settings.get("ffn_dim") or 4 * hidden
    return Shape(
        layers=layers,
        hidden=hidden,
        heads=heads,
        queries=heads * size,
        keys=(settings.get("num_key_value_heads") or heads) * size,
        inner=inner,
        vocabulary=vocabulary,
        positions=settings.get("max_position_embeddings") or settings.get("n_positions"),
    )
