"""Actor, critic and reference: how they are made, adapted, sharded, and run."""

from bai_sweep.ppo.networks._actor_critic import FrozenPolicy
from bai_sweep.ppo.networks._checks import check_length, check_sampled
from bai_sweep.ppo.networks._deepspeed import Zero2
from bai_sweep.ppo.networks._lora import check_untied, copy_sharing_frozen, lora_config, opened, shares_weights
from bai_sweep.ppo.networks._networks import SHORT, Networks, make_critic, make_networks
from bai_sweep.ppo.networks._recompute import attention, keep_activations, recompute_layers
from bai_sweep.ppo.networks._scalar import ScalarModel, scalar_architecture

__all__ = [
    "SHORT",
    "FrozenPolicy",
    "Networks",
    "ScalarModel",
    "Zero2",
    "attention",
    "check_length",
    "check_sampled",
    "check_untied",
    "copy_sharing_frozen",
    "keep_activations",
    "lora_config",
    "make_critic",
    "make_networks",
    "opened",
    "recompute_layers",
    "scalar_architecture",
    "shares_weights",
]
