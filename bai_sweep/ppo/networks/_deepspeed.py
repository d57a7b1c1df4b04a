"""Gradients and optimizer states cut into parts, one for each process (DeepSpeed's ZeRO-2); weights stay whole."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, final

import torch
import torch.distributed as dist
from jaxtyping import Float
from torch import Tensor, nn

from bai_sweep.records import UserError

MOMENTS = ("exp_avg", "exp_avg_sq")
"""What AdamW remembers of each number, next to its count of steps."""


@final
class Zero2:
    """An optimizer under DeepSpeed, made to do what it does without.

    ZeRO-2 averages gradients, clips all networks together and steps all weights. Here gradients are sums over the
    processes, each network is clipped on its own, and the actor rests in the critic's warm-up. What differs: a weight
    that never gets a gradient counts as one with gradient zero, so it decays. Every method is called by all processes.
    """

    def take(self, optimizer: torch.optim.Optimizer, device: torch.device) -> None:
        """Divides AdamW's states over the processes.

        Args:
            optimizer: Has two groups, the actor's and the critic's. Goes on to be where learning rates are set.
            device: Of this process.

        Raises:
            UserError: A trained weight is not fp32.
        """
        self.optimizer = optimizer
        self.parameters: list[list[nn.Parameter]] = [list(group["params"]) for group in optimizer.param_groups]
        trained = [p for group in self.parameters for p in group]
        _check_precision(trained)
        # What DeepSpeed finds by itself is a GPU, even for a run on the CPU.
        os.environ.setdefault("DS_ACCELERATOR", device.type)
        os.environ.setdefault("LOCAL_RANK", str(dist.get_rank()))
        import deepspeed

        config = {
            "train_micro_batch_size_per_gpu": 1,  # counts its own steps only
            "zero_optimization": {"stage": 2},
            "zero_force_ds_cpu_optimizer": False,
            "gradient_clipping": 0.0,
        }
        self.engine: Any = deepspeed.initialize(
            model=_Loss(trained), optimizer=optimizer, config=config, dist_init_required=False
        )[0]
        self._make_states()

    def backward(self, loss: Float[Tensor, ""], *, last: bool) -> None:
        """Adds to the gradients; called equally often by all processes.

        Args:
            loss: This process's part of the minibatch's.
            last: Whether the minibatch has no further part.
        """
        self.engine.set_gradient_accumulation_boundary(last)
        self.engine.backward(self.engine(loss * dist.get_world_size()))

    @torch.no_grad()
    def clip(self, network: int, limit: float) -> Float[Tensor, ""]:
        """Clips the gradient norm of the actor (0) or the critic (1), and returns the norm before.

        As `torch.nn.utils.clip_grad_norm_` does, on each process's part of the gradients.
        """
        parts = self.engine.optimizer.averaged_gradients[network]
        squares = torch.stack([part.square().sum() for part in parts]).sum()
        dist.all_reduce(squares)
        norm = squares.sqrt()
        for part in parts:
            part.mul_((limit / (norm + 1e-6)).clamp(max=1.0))
        return norm

    def step(self, *, policy: bool) -> None:
        """One step, and no gradients any more; without `policy` of the critic alone, before any of the actor's."""
        if policy:
            self.engine.step()
            return
        with self._at_rest(0):
            self.engine.step()

    def states(self) -> dict[Tensor, dict[str, Tensor]]:
        """What AdamW remembers of each weight, whole."""
        from deepspeed.utils import safe_get_full_optimizer_state

        return {
            parameter: {"step": self._steps(network).clone()}
            | {key: safe_get_full_optimizer_state(parameter, key) for key in MOMENTS}
            for network, group in enumerate(self.parameters)
            for parameter in group
        }

    @torch.no_grad()
    def load(self, states: Mapping[Tensor, Mapping[str, Tensor]]) -> None:
        """Goes on from the weights as they are, and what `states`, or AdamW without DeepSpeed, remembered."""
        from deepspeed.utils import safe_set_full_optimizer_state

        self.engine.optimizer.refresh_fp32_params()
        for network, group in enumerate(self.parameters):
            seen = [parameter for parameter in group if parameter in states]
            for parameter in seen:
                for key in MOMENTS:
                    safe_set_full_optimizer_state(parameter, states[parameter][key].to(parameter.device), key)
            self._steps(network).fill_(max((float(states[p]["step"]) for p in seen), default=0.0))

    def finish(self) -> None:
        """Lets go of the weights, each of which gets memory of its own again."""
        self.engine.destroy()
        for parameter in (p for group in self.parameters for p in group):
            parameter.data = parameter.data.clone()

    def _make_states(self) -> None:
        """Two steps of length 0 along gradients of 0.

        DeepSpeed links weights to what AdamW remembers after its first step, and only to what is there once the first
        group was stepped: so AdamW goes first.
        """
        with self._at_rest(0), self._at_rest(1):
            for part in (group["params"][0] for group in self.optimizer.param_groups):
                part.grad = torch.zeros_like(part)
            self.optimizer.step()
            nothing = torch.stack([p.sum() for group in self.parameters for p in group]).sum() * 0.0
            self.backward(nothing, last=True)
            self.engine.step()

    @contextmanager
    def _at_rest(self, network: int) -> Iterator[None]:
        """A network that has not been stepped stays so, whatever the optimizer does to it with gradients of 0."""
        group = self.optimizer.param_groups[network]
        rate, group["lr"] = group["lr"], 0.0
        yield
        group["lr"] = rate
        self._steps(network).zero_()

    def _steps(self, network: int) -> Tensor:
        (part,) = self.optimizer.param_groups[network]["params"]
        steps: Tensor = self.optimizer.state[part]["step"]
        return steps


@final
class _Loss(nn.Module):
    """What DeepSpeed takes for the model: it needs the weights, and the loss for the start of the backward pass.

    The forward pass stays out of it, as DeepSpeed would switch autocast off.
    """

    def __init__(self, parameters: list[nn.Parameter]) -> None:
        super().__init__()
        self.weights = nn.ParameterList(parameters)

    def forward(self, loss: Float[Tensor, ""]) -> Float[Tensor, ""]:
        """The loss as it is."""
        return loss


def _check_precision(parameters: list[nn.Parameter]) -> None:
    kinds = sorted({str(p.dtype).removeprefix("torch.") for p in parameters} - {"float32"})
    if kinds:
        raise UserError(
            f"trained weights are float32 under DeepSpeed; got {', '.join(kinds)}; load the model in float32 (with "
            "rl.precision=bf16 it computes in bf16), or use rl.accelerate_config=fsdp2"
        )
