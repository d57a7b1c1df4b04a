"""What is wrong with a trial's settings of PPO, found before a model is merged: no weights are read."""

from __future__ import annotations

from importlib.util import find_spec

import torch

from bai_sweep.config import GroupSettings, PPOSettings, RewardConfig
from bai_sweep.ppo._prompts import columns_of
from bai_sweep.ppo.networks import scalar_architecture
from bai_sweep.ppo.processes import check_devices, check_launch
from bai_sweep.ppo.rewards import FunctionReward, import_function
from bai_sweep.records import UserError


def check(settings: PPOSettings | GroupSettings, reward: RewardConfig, device: torch.device) -> None:
    """Imports every reward function, reads a row of a local prompt dataset, and the configs of scalar models.

    Raises:
        UserError: A function is absent, not callable, misses a package, or cannot be called with the dataset's
            columns; prompts cannot be read or lack the column; a critic or reward model is a checkpoint of another
            kind; an optional package that the settings need is not installed; accelerate_config cannot be used; the
            device is none that these settings train on.
    """
    if isinstance(settings, PPOSettings):
        if settings.lora is not None:
            _require("rl.lora", "peft", "lora")
        check_engine(settings, device)
        check_launch(settings)
        if settings.num_processes > 1:
            check_devices(settings.num_processes, device)
    elif device.type == "cuda" and (there := torch.cuda.device_count()) > 1:
        # transformers, under TRL's trainers, spreads a model over all that it sees
        raise UserError(f"rl={settings.kind} trains on one GPU; torch sees {there}; set CUDA_VISIBLE_DEVICES to one")
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


def check_engine(settings: PPOSettings, device: torch.device) -> None:
    """Whether what samples completions can run here.

    Raises:
        UserError: vLLM is not installed, or the device is none that it takes weights from.
    """
    if settings.engine != "vllm":
        return
    _require("rl.engine=vllm", "vllm", "vllm")
    if device.type != "cuda":
        raise UserError(
            f"rl.engine=vllm takes the actor's weights from a device of CUDA; got device={device}; set rl.engine=hf"
        )


def _require(setting: str, package: str, extra: str) -> None:
    if find_spec(package) is None:
        raise UserError(
            f"{setting} needs the package {package}, which is not installed; pip install 'bai-sweep[{extra}]'"
        )
