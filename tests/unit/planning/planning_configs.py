"""Configurations and networks for the tests of planning."""

from __future__ import annotations

import functools

from hydra import compose, initialize_config_dir

from bai_sweep.config import TrialConfig, parse
from bai_sweep.planning._assumptions import Assumptions, Device
from bai_sweep.planning._networks import Network, Shape
from bai_sweep.planning._sizes import Placed, Sizes
from bai_sweep.sources import packaged_dir

ASSUMED = Assumptions(prompt_tokens=50, utilisation=0.5, launch_seconds=0.001, libraries=0.0, disk=1e6)
CPU = Device("cpu", "this CPU", flops=1e9, bandwidth=1e8, count=1)
GPU = Device("cuda", "a GPU", flops=1e12, bandwidth=1e10, count=1)
SHAPE = Shape(layers=3, hidden=8, heads=2, queries=8, keys=4, inner=16, vocabulary=20, positions=None)


@functools.cache
def config(*overrides: str) -> TrialConfig:
    """The packaged configuration, tracked nowhere."""
    with initialize_config_dir(str(packaged_dir("conf")), version_base="1.3"):
        return parse(compose("config", overrides=["tracking=none", "threads=1", *overrides]))


def network(parameters: int = 1000, **changes: object) -> Network:
    """A network of so many parameters, its head its embedding."""
    settings = {"tensors": 10, "embedding": 160, "head": 0, "headless": False, "linear": {}, "shape": SHAPE}
    return Network(parameters=parameters, **(settings | changes))  # type: ignore[arg-type]


def ppo_sizes(actor: Network, critic: Network) -> Sizes:
    """PPO's networks in float32, all of actor and critic trained."""
    return Sizes(
        (
            Placed("actor", actor, 4, actor.parameters, actor.tensors),
            Placed("reference", actor, 4),
            Placed("critic", critic, 4, critic.parameters, critic.tensors),
        ),
        {},
    )
