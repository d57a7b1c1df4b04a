"""What is wrong with rewards, prompts and critic, found before a model is merged: no weights are read."""

from __future__ import annotations

from bai_sweep.config import PPOSettings, RewardConfig
from bai_sweep.ppo._prompts import check_prompts
from bai_sweep.ppo._reward import FunctionReward
from bai_sweep.ppo._scalar import scalar_architecture


def check(settings: PPOSettings, reward: RewardConfig) -> None:
    """Imports every reward function, reads a row of a local prompt dataset, and the configs of scalar models.

    Raises:
        UserError: A function is absent, not callable, or misses a package; prompts cannot be read or lack the
            column; a critic or reward model is a checkpoint of another kind.
    """
    for entry in reward.functions.values():
        if entry.function:
            FunctionReward(entry.function)
    check_prompts(reward.prompts)
    for model in (settings.critic, *(entry.model for entry in reward.functions.values())):
        if model is not None:
            scalar_architecture(model)
