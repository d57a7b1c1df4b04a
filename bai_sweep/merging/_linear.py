"""The linear merge of tensors."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor


def linear_merge(tensors: Sequence[Float[Tensor, "..."]], weights: Sequence[float], dtype: torch.dtype) -> Tensor:
    """`sum_k weights[k] * tensors[k]`, accumulated in float32 (float64 for float64 input) and rounded once.

    Args:
        tensors: one shape, any floating dtypes.
        weights: one per tensor; not normalised.
        dtype: of the result.
    """
    accumulator = torch.float64 if any(t.dtype == torch.float64 for t in tensors) else torch.float32
    total = tensors[0].to(accumulator) * weights[0]
    for tensor, weight in zip(tensors[1:], weights[1:], strict=True):
        total.add_(tensor.to(accumulator), alpha=weight)
    return total.to(dtype)
