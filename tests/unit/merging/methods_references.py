"""Every merging method written plainly: float64, whole arrays, nothing of the package."""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Weights = Mapping[str, float]


def stage_1(models: Mapping[str, Array], weights: Weights) -> Array:
    return np.asarray(sum(weight * models[name] for name, weight in weights.items()))


def linear(models: Mapping[str, Array], weights: Weights, alpha: float) -> Array:
    return alpha * models["base"] + (1 - alpha) * stage_1(models, weights)


def slerp(models: Mapping[str, Array], weights: Weights, alpha: float) -> Array:
    base, other = models["base"], stage_1(models, weights)
    lengths = np.linalg.norm(base) * np.linalg.norm(other)
    cosine = np.sum(base * other) / lengths if lengths else 1.0
    if abs(cosine) > 0.9995:
        return alpha * base + (1 - alpha) * other
    angle = np.arccos(cosine)
    return np.asarray((np.sin(alpha * angle) * base + np.sin((1 - alpha) * angle) * other) / np.sin(angle))


def task_arithmetic(models: Mapping[str, Array], weights: Weights, scale: float) -> Array:
    return models["base"] + scale * stage_1(_vectors(models, weights), weights)


def ties(models: Mapping[str, Array], weights: Weights, scale: float, density: float, election: str) -> Array:
    trimmed = {name: _largest(vector, density) for name, vector in _vectors(models, weights).items()}
    total, shares = _elected(trimmed, weights, election)
    return models["base"] + scale * total / np.where(shares == 0, 1, shares)


def dare(
    models: Mapping[str, Array],
    weights: Weights,
    scale: float,
    density: float,
    election: str,
    *,
    seed: int,
    tensor: str,
) -> Array:
    kept = {
        name: vector * mask(seed, name, tensor, density, vector.size) / density
        for name, vector in _vectors(models, weights).items()
    }
    total = stage_1(kept, weights) if election == "none" else _elected(kept, weights, election)[0]
    return models["base"] + scale * total


def mask(seed: int, member: str, tensor: str, density: float, size: int) -> NDArray[np.bool_]:
    """Element after element takes the next 32 bits, the lower half of Philox's 64 first."""
    digest = blake2b(f"{seed}\0{member}\0{tensor}".encode(), digest_size=16).digest()
    stream = np.random.Philox(key=int.from_bytes(digest, "little"))
    words = [word for both in stream.random_raw((size + 1) // 2).tolist() for word in (both % 2**32, both // 2**32)]
    return np.array(words[:size]) < density * 2**32


def _vectors(models: Mapping[str, Array], weights: Weights) -> dict[str, Array]:
    return {name: models[name] - models["base"] for name in weights}


def _largest(vector: Array, density: float) -> Array:
    threshold = np.sort(np.abs(vector))[::-1][max(1, int(density * vector.size)) - 1]
    return np.where(np.abs(vector) >= threshold, vector, 0.0)


def _elected(vectors: Mapping[str, Array], weights: Weights, election: str) -> tuple[Array, Array]:
    """The sum over the vectors of the elected sign, and their weights."""
    names = list(weights)
    weighted = np.array([weights[name] * vectors[name] for name in names])
    votes = weighted.sum(0) if election == "weight" else np.sign(weighted).sum(0)
    agrees = np.sign(weighted) == np.where(votes >= 0, 1, -1)
    shares = (np.array([weights[name] for name in names])[:, None] * agrees).sum(0)
    return np.asarray((weighted * agrees).sum(0)), np.asarray(shares)
