"""A schedule over depth and parts in mergekit's terms: filters on tensor names, and gradients over the layers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from bai_sweep.merging._types import Part, TensorInfo
from bai_sweep.merging.methods import Depth

# what the tensors of a part have in their names, in the models we know; a name that contradicts it is listed whole
_WORDS: dict[str, Part] = {
    "embed_tokens": "embeddings",
    "lm_head": "head",
    "self_attn": "attention",
    ".mlp.": "mlp",
    "norm": "norms",
}
_CLOSE = 1e-12


def weight_setting(tensors: Sequence[TensorInfo], method: Depth, member: str) -> Any:
    """The `weight` of a model: a number, a gradient, or a list of filters, the first that fits holding."""

    def share(alpha: float) -> float:
        exact = alpha if member == method.base else (1.0 - alpha) * method.weights[member]
        return float(f"{exact:.15g}")

    gradient = [share(point) for point in method.layers]
    single = len({t.depth for t in tensors if t.depth is not None}) == 1
    filters = [
        (word, share(method.parts[part]))
        for word, part in _WORDS.items()
        if part in method.parts and any(word in t.name and t.part == part for t in tensors)
    ]
    exact = [
        (t.name, share(method.alpha_of(t)))
        for t in tensors
        if abs(_resolved(t, filters, gradient, single=single) - share(method.alpha_of(t))) > _CLOSE
    ]
    default: Any = gradient[0] if len(set(gradient)) == 1 else gradient
    if not filters and not exact:
        return default
    listed = [{"filter": name, "value": value} for name, value in (*exact, *filters)]
    return [*listed, {"filter": "*", "value": default}]


def _resolved(
    tensor: TensorInfo, filters: Sequence[tuple[str, float]], gradient: Sequence[float], *, single: bool
) -> float:
    """What mergekit makes of the setting."""
    for word, value in filters:
        if word in tensor.name:
            return value
    depth = 0.0 if tensor.depth is None else 1.0 if single else tensor.depth
    place = depth * (len(gradient) - 1)
    left = int(place)
    right = min(left + 1, len(gradient) - 1)
    return (1.0 - (place - left)) * gradient[left] + (place - left) * gradient[right]
