"""The networks of a trial: which there are, how many numbers each has, and what of it is trained."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from bai_sweep.config import GroupSettings, LoRASettings, NoRL, PPOSettings, TrialConfig
from bai_sweep.planning._checkpoints import UnknownSizeError, actor_of, scalar_of
from bai_sweep.planning._networks import Network

WIDTHS: Mapping[str, int] = {"float32": 4, "bfloat16": 2, "float16": 2}
"""Bytes of a number, by dtype."""

Role = Literal["actor", "critic", "reference", "probe", "reward"]


@dataclass(frozen=True)
class Placed:
    """A network in the memory of a trial.

    Args:
        role: What it is for.
        network: Its numbers.
        width: Bytes of each of them.
        trained: How many of them are trained; of LoRA, the adapter's, which are none of the network's own.
        trained_tensors: How many tensors these are.
        own: Whether its weights take memory; False: they are the actor's.
    """

    role: Role
    network: Network
    width: int
    trained: int = 0
    trained_tensors: int = 0
    own: bool = True


@dataclass(frozen=True)
class Sizes:
    """All networks of a trial whose size is known, and why the others' is not, by role and name."""

    networks: tuple[Placed, ...]
    unknown: Mapping[str, str]

    @property
    def actor(self) -> Network | None:
        """The one that everything else depends on."""
        return next((placed.network for placed in self.networks if placed.role == "actor"), None)

    @property
    def complete(self) -> bool:
        """Whether the size of every network is known."""
        return not self.unknown


def sizes_of(config: TrialConfig) -> Sizes:
    """The networks that a trial loads.

    Raises:
        UserError: Its checkpoints do not fit together.
    """
    try:
        actor = actor_of(config.model)
    except UnknownSizeError as error:
        return Sizes((), {"actor": str(error)})
    width, rl = WIDTHS[config.model.dtype], config.rl
    if isinstance(rl, NoRL):
        return Sizes((Placed("actor", actor, width),), {})
    lora = rl.lora if isinstance(rl, PPOSettings) else None
    trained = (actor.parameters, actor.tensors) if lora is None else adapter_size(actor, lora)
    found = [Placed("actor", actor, width, *trained), Placed("reference", actor, width, own=lora is None)]
    unknown: dict[str, str] = {}
    for name, make in {**_critic(rl, actor, width), **_rewards(config)}.items():
        try:
            found.append(make())
        except UnknownSizeError as error:
            unknown[name] = str(error)
    probes = config.model.sft if isinstance(rl, PPOSettings) and rl.kl_to_sft else ()
    return Sizes((*found, *(Placed("probe", actor, width) for _ in probes)), unknown)


def adapter_size(network: Network, lora: LoRASettings) -> tuple[int, int]:
    """Numbers and tensors of an adapter: `r * (rows + columns)` in two tensors for each layer that it is on."""
    layers = [shape for name, shape in network.linear.items() if _is_target(name, lora.target_modules)]
    return sum(lora.r * (rows + columns) for rows, columns in layers), 2 * len(layers)


def _is_target(name: str, targets: str | tuple[str, ...]) -> bool:
    """As PEFT chooses: every linear layer, a regular expression over the whole name, or ends of names."""
    if targets == "all-linear":
        return True
    if isinstance(targets, str):
        return re.fullmatch(targets, name) is not None
    return any(name == target or name.endswith(f".{target}") for target in targets)


def _critic(rl: PPOSettings | GroupSettings, actor: Network, width: int) -> Mapping[str, Callable[[], Placed]]:
    if not isinstance(rl, PPOSettings):
        return {}
    source, lora = rl.critic, rl.lora

    def make() -> Placed:
        network = actor.without_head() if source is None else scalar_of(source)
        if lora is None:
            return Placed("critic", network, width, network.parameters, network.tensors)
        numbers, tensors = adapter_size(network, lora)
        hidden = network.shape.hidden if network.shape else 0  # its head is trained whole
        return Placed("critic", network, width, numbers + hidden, tensors + 1, own=source is not None)

    return {"critic": make}


def _rewards(config: TrialConfig) -> Mapping[str, Callable[[], Placed]]:
    """Reward models, which are loaded in float32 whatever the actor is in."""

    def maker(source: str) -> Callable[[], Placed]:
        return lambda: Placed("reward", scalar_of(source), WIDTHS["float32"])

    functions = config.reward.functions
    return {f"reward {name}": maker(entry.model) for name, entry in functions.items() if entry.model is not None}
