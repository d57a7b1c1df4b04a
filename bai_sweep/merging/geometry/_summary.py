"""From sums to norms, distances, cosines and shares: by layer, and in total."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from bai_sweep.merging._types import TensorInfo
from bai_sweep.merging.geometry._sums import Layout, Sums

Layer = int | str


@dataclass(frozen=True)
class TensorSums:
    """A tensor, the sums over the elements that were looked at, and how many those are."""

    tensor: TensorInfo
    sums: Sums
    looked: int


def layer_of(tensor: TensorInfo) -> Layer:
    """A layer's number, the first in the tensor's name; outside the layers what the tensor is."""
    number = re.search(r"(?:^|\.)(\d+)\.", tensor.name)
    if tensor.depth is not None and number:
        return int(number[1])
    return "final norm" if tensor.part == "norms" else tensor.part


def summarise(layout: Layout, tensors: Sequence[TensorSums]) -> dict[str, Any]:
    """The rows of the layers, in their order, and the row of all tensors together."""
    layers: dict[Layer, list[TensorSums]] = {}
    for tensor in tensors:
        layers.setdefault(layer_of(tensor.tensor), []).append(tensor)
    looked, size = sum(t.looked for t in tensors), sum(t.tensor.size for t in tensors)
    return {
        "share": looked / size if size else 1.0,
        "layers": [{"layer": layer, **_row(layout, layers[layer])} for layer in sorted(layers, key=_place)],
        "total": _row(layout, tensors),
    }


def _place(layer: Layer) -> tuple[int, int | str]:
    if isinstance(layer, int):
        return (1, layer)
    return ({"embeddings": 0, "final norm": 2, "head": 3}.get(layer, 4), layer)


def _row(layout: Layout, tensors: Sequence[TensorSums]) -> dict[str, Any]:
    """One group's figures; where a tensor was sampled, its sums stand for all of its elements."""
    scaled = [t.sums * (t.tensor.size / t.looked) for t in tensors]
    sums: Sums = np.add.reduce(scaled, axis=0) if scaled else np.zeros(layout.width)
    size, count = sum(t.tensor.size for t in tensors), len(layout.models)
    squares = [float(value) for value in sums[:count]]
    gaps = {pair: float(sums[count + k]) for k, pair in enumerate(layout.pairs)}
    names = {pair: f"{layout.models[pair[0]]}~{layout.models[pair[1]]}" for pair in layout.pairs}
    return {
        "tensors": len(tensors),
        "elements": size,
        "norms": {name: _root(square) for name, square in zip(layout.models, squares, strict=True)},
        "distances": {names[pair]: _root(gap) for pair, gap in gaps.items()},
        "cosines": {names[a, b]: _cosine(squares[a], squares[b], gap) for (a, b), gap in gaps.items()},
        "task_vectors": _tasks(layout, squares, gaps),
        "conflict": _conflict(layout, sums, size),
    }


def _tasks(layout: Layout, squares: Sequence[float], gaps: dict[tuple[int, int], float]) -> dict[str, Any] | None:
    """What was added to the base; the gap of two task vectors is that of their models."""
    if not layout.based:
        return None
    names, base = layout.models, squares[0]
    ends = range(1, len(names))
    return {
        "norms": {names[k]: _root(gaps[0, k]) for k in ends},
        "relative": {names[k]: _root(gaps[0, k] / base) if base else None for k in ends},
        "cosines": {
            f"{names[a]}~{names[b]}": _cosine(gaps[0, a], gaps[0, b], gap) for (a, b), gap in gaps.items() if a
        },
    }


def _conflict(layout: Layout, sums: Sums, size: int) -> dict[str, Any] | None:
    if not layout.based:
        return None
    found: dict[str, Any] = {}
    triples: Iterable[Sums] = sums[len(sums) - 3 * len(layout.conflicts) :].reshape(-1, 3)
    for (one, other), (signed, absolute, opposite) in zip(layout.conflicts, triples, strict=True):
        # what pulls apart is half of what the products lose to their signs
        weighted = _finite((absolute - signed) / (2 * absolute)) if absolute else None
        share = _finite(opposite / size) if size else None
        found[f"{layout.models[one]}~{layout.models[other]}"] = {"share": share, "weighted": weighted}
    return found


def _cosine(one: float, other: float, gap: float) -> float | None:
    """From two squared norms and the squared distance; None where a vector is zero."""
    if not one or not other:
        return None
    cosine = _finite((one + other - gap) / (2 * math.sqrt(one) * math.sqrt(other)))
    return None if cosine is None else min(1.0, max(-1.0, cosine))


def _root(square: float) -> float | None:
    return _finite(math.sqrt(square)) if square >= 0 else None


def _finite(value: float) -> float | None:
    """JSON has neither infinities nor NaN."""
    return float(value) if math.isfinite(value) else None
