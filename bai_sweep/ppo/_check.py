"""What is wrong with a trial's settings of PPO, found before a model is merged: no weights are read."""

from __future__ import annotations

from importlib.util import find_spec

from bai_sweep.config import GroupSettings, PPOSettings, RewardConfig
from bai_sweep.ppo._prompts import columns_of
from bai_sweep.ppo.networks import scalar_architecture
from bai_sweep.ppo.processes import check_launch
from bai_sweep.ppo.rewards import FunctionReward, import_function
from bai_sweep.records import UserError


def check(settings: PPOSettings | GroupSettings, reward: RewardConfig) -> None:
    """Imports every reward function, reads a row of a local prompt dataset, and the configs of scalar models.

    Raises:
        UserError: A function is absent, not callable, misses a package, or cannot be called with the dataset's
            columns; prompts cannot be read or lack the column; a critic or reward model is a checkpoint of another
            kind; an optional package that the settings need is not installed; accelerate_config cannot be used.
    """
    if isinstance(settings, PPOSettings):
        _check_packages(settings)
        check_launch(settings)
    columns = columns_of(reward.prompts)
    for entry in reward.functions.values():
        if entry.function:
            function = FunctionReward(import_function(entry.function), entry.function)
            if columns is not None:
                function.check(columns)
    critic = settings.critic if isinstance(settings, PPOSettings) else None
    for model in (critic, *(entry.model for entry in reward.functions.values())):
        if model is not None:
            scalar_architecture(model)


def _check_packages(settings: PPOSettings) -> None:
    needed = {"rl.lora": ("peft", "lora")} if settings.lora is not None else {}
    needed |= {"rl.engine=vllm": ("vllm", "vllm")} if settings.engine == "vllm" else {}
    for setting, (package, extra) in needed.items():
        if find_spec(package) is None:
            raise UserError(
                f"{setting} needs the package {package}, which is not installed; pip install 'bai-sweep[{extra}]'"
            )
