"""Actor, critic and reference: how they are made, adapted, sharded, and run."""

from bai_sweep.ppo.networks._actor_critic import FrozenPolicy
from bai_sweep.ppo.networks._lora import copy_sharing_frozen, lora_config, opened
from bai_sweep.ppo.networks._networks import SHORT, Networks, check_length, make_critic, make_networks
from bai_sweep.ppo.networks._recompute import attention, keep_activations, recompute_layers
from bai_sweep.ppo.networks._scalar import ScalarModel, scalar_architecture

__all__ = [
    "SHORT",
    "FrozenPolicy",
    "Networks",
    "ScalarModel",
    "attention",
    "check_length",
    "copy_sharing_frozen",
    "keep_activations",
    "lora_config",
    "make_critic",
    "make_networks",
    "opened",
    "recompute_layers",
    "scalar_architecture",
]
