"""Whether models come of one base, from a few thousand of their weights."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import combinations

import numpy as np

from bai_sweep.merging._types import Member, TensorInfo, Tensors, Values

_MATRICES, _RUNS, _RUN = 16, 4, 64
_RELATED = 0.5


def lineage_doubts(
    members: Mapping[str, Member], tensors: Mapping[str, Tensors], infos: Sequence[TensorInfo]
) -> list[str]:
    """Members that look unrelated to the first, and members that look the same."""
    doubts = [
        f"{one} and {other} are the same model, {members[one].source}"
        for one, other in combinations(members, 2)
        if members[one].source == members[other].source
    ]
    matrices = _spread(infos)
    if not matrices:
        return doubts
    samples = {name: _sample(tensors[name], matrices) for name in members}
    first, *others = samples
    for name in others:
        doubts += _unrelated(first, samples[first], name, samples[name])
    doubts += [
        f"{one} and {other} have the same weights in all {samples[one].size} places compared"
        for one, other in combinations(members, 2)
        if members[one].source != members[other].source and np.array_equal(samples[one], samples[other])
    ]
    return doubts


def _unrelated(first: str, ours: Values, name: str, theirs: Values) -> list[str]:
    """By the cosine: fine-tunes of one base have more than 0.9 with it, models of other origin about 0."""
    a, b = ours.astype(np.float64), theirs.astype(np.float64)
    norm, other = _norm(a), _norm(b)
    if not (norm > 0 and other > 0 and math.isfinite(norm + other)):
        return []
    cosine = float(np.einsum("i,i->", a, b)) / (norm * other)
    if cosine >= _RELATED:
        return []
    return [
        f"{name} and {first} do not seem to come of one base: the cosine of their weights is {cosine:.3f} and the "
        f"difference is {_norm(b - a) / norm:.2f} of {first}'s norm ({ours.size} weights compared); models tuned from "
        "one base have more than 0.9, and a merge of others is noise"
    ]


def _norm(values: np.ndarray[tuple[int], np.dtype[np.float64]]) -> float:
    return math.sqrt(float(np.einsum("i,i->", values, values)))


def _spread(infos: Sequence[TensorInfo]) -> list[TensorInfo]:
    """At most sixteen matrices of the layers, from the first to the last."""
    found = [
        info
        for info in infos
        if info.depth is not None and info.part in ("attention", "mlp") and len(info.shape) > 1
        if info.size >= _RUN
    ]
    found.sort(key=lambda info: (info.depth or 0.0, info.name))
    if len(found) <= _MATRICES:
        return found
    return [found[round(i * (len(found) - 1) / (_MATRICES - 1))] for i in range(_MATRICES)]


def _sample(tensors: Tensors, matrices: Sequence[TensorInfo]) -> Values:
    room = np.empty((len(matrices), _RUNS, _RUN), dtype=np.float32)
    for row, info in zip(room, matrices, strict=True):
        for i, run in enumerate(row):
            tensors.read(info.name, i * (info.size - _RUN) // (_RUNS - 1), run)
    return room.reshape(-1)
