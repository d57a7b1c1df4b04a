"""The memory of torch tensors, as numpy sees it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

from bai_sweep.merging._types import Dtype, TensorInfo
from bai_sweep.merging.live._sink import Target

_DTYPES: Mapping[torch.dtype, Dtype] = {torch.float32: "F32", torch.bfloat16: "BF16", torch.float16: "F16"}


def targets_of(state: Mapping[str, Tensor], tensors: Iterable[TensorInfo]) -> dict[str, Target]:
    """The memory of each tensor of a merge; what is written there is in the tensor."""
    return {tensor.name: target_of(state[tensor.name]) for tensor in tensors}


def target_of(tensor: Tensor) -> Target:
    """One tensor's: contiguous, on the CPU."""
    if tensor.device.type != "cpu" or not tensor.is_contiguous() or tensor.dtype not in _DTYPES:
        raise ValueError(
            f"a merge is written to contiguous float32, bfloat16 or float16 memory of the CPU; got {tensor.dtype}, "
            f"strides {tensor.stride()}, on {tensor.device}"
        )
    flat = tensor.detach().view(-1)
    memory = flat.view(torch.uint16) if tensor.dtype == torch.bfloat16 else flat
    return Target(memory.numpy(), _DTYPES[tensor.dtype])
