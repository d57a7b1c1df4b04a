"""Models in memory, and their geometry computed apart from the code under test."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bai_sweep.merging._engine import run
from bai_sweep.merging._types import Method, TensorInfo, TensorSpec, Values
from bai_sweep.merging.geometry import Geometry
from bai_sweep.merging.methods import Linear

Arrays = Mapping[str, NDArray[np.float32]]


class InMemory:
    """A `Tensors` of arrays that counts what is read."""

    def __init__(self, arrays: Arrays) -> None:
        self.arrays = arrays
        self.specs = {name: TensorSpec((array.size,), "F32") for name, array in arrays.items()}

    def read(self, name: str, start: int, into: Values) -> None:
        piece = self.arrays[name][start : start + into.size]
        assert piece.size == into.size
        into[:] = piece


class Nowhere:
    """A sink that forgets."""

    def write(self, name: str, start: int, values: Values) -> None:
        pass


def arrays_of(tensors: Sequence[TensorInfo], members: Sequence[str], seed: int = 0) -> dict[str, dict[str, Any]]:
    """A base, and models that lie near it."""
    random = np.random.default_rng(seed)
    base = {t.name: random.standard_normal(t.size, np.float32) for t in tensors}
    return {
        m: {
            n: (b + (0.0 if m == "base" else 0.02) * random.standard_normal(b.size, np.float32)).astype(np.float32)
            for n, b in base.items()
        }
        for m in members
    }


def looked(
    tensors: Sequence[TensorInfo],
    arrays: Mapping[str, Arrays],
    method: Method,
    *,
    sample: bool,
    threads: int = 1,
    block: int = 131072,
) -> dict[str, Any]:
    """The summary of a merge."""
    values = {name: InMemory(model) for name, model in arrays.items()}
    geometry = Geometry(tensors, values, method.members, sample=sample)
    run(tensors, values, method, Nowhere(), threads=threads, block=block, observer=geometry)
    return geometry.summary()


def expected(models: Mapping[str, NDArray[np.float64]]) -> dict[str, Any]:
    """The figures of whole flattened models in float64; the first is the base, the last the merge."""
    names = list(models)
    tasks = {name: models[name] - models["base"] for name in names[1:]}
    conflict = {}
    for one, other in combinations(names[1:-1], 2):
        product = tasks[one] * tasks[other]
        opposite = product < 0
        weighted = np.abs(product[opposite]).sum() / np.abs(product).sum()
        conflict[f"{one}~{other}"] = {"share": float(opposite.mean()), "weighted": float(weighted)}
    length = np.linalg.norm
    return {
        "norms": {n: float(length(v)) for n, v in models.items()},
        "distances": {f"{a}~{b}": float(length(models[a] - models[b])) for a, b in combinations(names, 2)},
        "cosines": {f"{a}~{b}": cosine(models[a], models[b]) for a, b in combinations(names, 2)},
        "task_vectors": {
            "norms": {n: float(length(v)) for n, v in tasks.items()},
            "relative": {n: float(length(v) / length(models["base"])) for n, v in tasks.items()},
            "cosines": {f"{a}~{b}": cosine(tasks[a], tasks[b]) for a, b in combinations(tasks, 2)},
        },
        "conflict": conflict,
    }


def cosine(one: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    """Of the angle between two vectors."""
    return float((one @ other) / np.linalg.norm(one) / np.linalg.norm(other))


def linear(alpha: float, **weights: float) -> Linear:
    """A linear merge."""
    return Linear(alpha, weights)
