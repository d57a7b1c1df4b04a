"""What a run is made of between two steps, taken out of the living objects and put back, bit for bit.

Weights and optimizer state go by the names of the parameters, whole: where a parameter is sharded over processes, all
of them take part in gathering it, and each takes its own part when it is put back.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor, distribute_tensor

from bai_sweep.records import UserError

States = Mapping[Tensor, Mapping[str, Tensor]]
"""What an optimizer remembers of each parameter, by key."""


def trained_weights(module: nn.Module) -> dict[str, Tensor]:
    """The parameters that are trained (of an actor with an adapter: the adapter's)."""
    return {name: _whole(p) for name, p in module.named_parameters() if p.requires_grad}


@torch.no_grad()
def load_trained_weights(module: nn.Module, saved: Mapping[str, Tensor]) -> None:
    """Puts back what `trained_weights` took.

    Raises:
        UserError: The module trains other parameters; the first differences are shown.
    """
    parameters = {name: p for name, p in module.named_parameters() if p.requires_grad}
    here, there = ({name: _kind(t) for name, t in some.items()} for some in (parameters, saved))
    names = [name for name in sorted({*here, *there}) if here.get(name) != there.get(name)]
    if names:
        shown = "; ".join(f"{n}: {there.get(n, 'absent')}, now {here.get(n, 'absent')}" for n in names[:3])
        raise UserError(f"a checkpoint is of the model that is trained; {len(names)} parameters differ: {shown}")
    for name, parameter in parameters.items():
        parameter.copy_(_placed(saved[name], parameter))


def optimizer_state(module: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """What the optimizer remembers of each parameter, as `<parameter>/<key>`; nothing of those not yet stepped."""
    return by_name(module, optimizer.state)


def by_name(module: nn.Module, states: States) -> dict[str, Tensor]:
    """What is remembered of each parameter, as `<parameter>/<key>`."""
    return {
        f"{name}/{key}": _whole(value)
        for name, parameter in module.named_parameters()
        for key, value in states.get(parameter, {}).items()
    }


def by_parameter(module: nn.Module, saved: Mapping[str, Tensor]) -> States:
    """What `by_name` named."""
    parameters = dict(module.named_parameters())
    states: dict[Tensor, dict[str, Tensor]] = {}
    for name, value in saved.items():
        parameter_name, _, key = name.rpartition("/")
        states.setdefault(parameters[parameter_name], {})[key] = value
    return states


def load_optimizer_state(module: nn.Module, optimizer: torch.optim.Optimizer, saved: Mapping[str, Tensor]) -> None:
    """Puts back what `optimizer_state` took; learning rates and betas stay as they are."""
    order = [p for group in optimizer.param_groups for p in group["params"]]
    index = {id(parameter): i for i, parameter in enumerate(order)}
    # The step count is one number; only what has the parameter's shape is sharded like it.
    state = {
        index[id(p)]: {key: _placed(v, p) if v.shape == p.shape else v.clone() for key, v in remembered.items()}
        for p, remembered in by_parameter(module, saved).items()
    }
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})


def generator_state(generator: torch.Generator) -> str:
    """A generator's state in hexadecimal digits."""
    return _hex(generator.get_state())


def load_generator_state(generator: torch.Generator, saved: str) -> None:
    """Puts back what `generator_state` took."""
    generator.set_state(_bytes(saved))


def global_random_state() -> dict[str, Any]:
    """The generators that libraries and reward functions share: of Python, NumPy, and torch's CPU and CUDA devices."""
    numpy: Any = np.random.get_state(legacy=False)  # noqa: NPY002 - whoever draws from the global generator goes on
    numpy["state"] = {**numpy["state"], "key": numpy["state"]["key"].tolist()}
    # What has not been started has not been drawn from.
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else []  # type: ignore[no-untyped-call]
    return {
        "python": random.getstate(),
        "numpy": numpy,
        "torch": _hex(torch.get_rng_state()),
        "cuda": [_hex(state) for state in cuda],
    }


def load_global_random_state(saved: Mapping[str, Any]) -> None:
    """Puts back what `global_random_state` took, on as many CUDA devices as there are."""
    version, internal, gauss = saved["python"]
    random.setstate((version, tuple(internal), gauss))
    np.random.set_state(saved["numpy"])  # noqa: NPY002
    torch.set_rng_state(_bytes(saved["torch"]))
    for device, state in enumerate(saved["cuda"][: torch.cuda.device_count()]):
        torch.cuda.set_rng_state(_bytes(state), device)


def _whole(tensor: Tensor) -> Tensor:
    """All of a tensor in main memory."""
    tensor = tensor.detach()
    return (tensor.full_tensor() if isinstance(tensor, DTensor) else tensor).cpu()


def _placed(tensor: Tensor, like: Tensor) -> Tensor:
    """A copy of a whole tensor where `like` is, sharded as it is."""
    # A copy: what safetensors gives is a view of the file.
    if isinstance(like, DTensor):
        return distribute_tensor(tensor.to(like.device, copy=True), like.device_mesh, like.placements)
    return tensor.to(like.device, copy=True)


def _kind(tensor: Tensor) -> str:
    return f"{tuple(tensor.shape)} {str(tensor.dtype).removeprefix('torch.')}"


def _hex(state: Tensor) -> str:
    return state.numpy().tobytes().hex()


def _bytes(digits: str) -> Tensor:
    return torch.frombuffer(bytearray.fromhex(digits), dtype=torch.uint8)
