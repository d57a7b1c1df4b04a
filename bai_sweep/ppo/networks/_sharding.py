"""Weights, gradients and optimizer states cut into parts, one for each process (PyTorch's FSDP2).

`fully_shard` is called directly. accelerate's `prepare` wants model and optimizer at once, turns weights to fp32 and
averages gradients; ours are sums over a minibatch whose weights all processes know.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor
from transformers.modeling_layers import GradientCheckpointingLayer


def shard(modules: Sequence[nn.Module], device: torch.device, *, reshard: bool) -> None:
    """Shards every layer, and what is around the layers, of modules that are called as a whole.

    Each has then to be called equally often in all processes. Outside of its forward pass a module holds its parts
    only. Frozen weights that two modules share are cut for each of them.

    Args:
        modules: Their trained gradients become sums over the processes.
        device: Of this process.
        reshard: Frees a layer's whole weights after its forward pass (the backward pass gathers them again).
    """
    mesh = init_device_mesh(device.type, (dist.get_world_size(),))
    for module in modules:
        for layer in [m for m in module.modules() if isinstance(m, GradientCheckpointingLayer)]:
            fully_shard(layer, mesh=mesh, reshard_after_forward=reshard)
        fully_shard(module, mesh=mesh, reshard_after_forward=True)
        for part in module.modules():
            if isinstance(part, FSDPModule):
                # By default it averages. A factor alone would ask for a reduction that Gloo does not have.
                part.set_force_sum_reduction_for_comms(True)
                part.set_gradient_divide_factor(1.0)


@torch.no_grad()
def collect(sharded: nn.Module, whole: nn.Module) -> None:
    """Copies the trained weights of a sharded network into a whole one of the same form; all processes take part."""
    for source, target in zip(sharded.parameters(), whole.parameters(), strict=True):
        if source.requires_grad:
            target.copy_(source.full_tensor() if isinstance(source, DTensor) else source)
