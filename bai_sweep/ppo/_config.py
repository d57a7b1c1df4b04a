"""PPO's settings for use from Python, with the defaults of the presets in conf/rl/."""

from __future__ import annotations

import difflib
import functools
from typing import Annotated, Any, cast

from omegaconf import OmegaConf
from pydantic import Field, ValidationError

from bai_sweep.config import ConfigError, PPOSettings, fault_text
from bai_sweep.rules import faults_of_training
from bai_sweep.sources import packaged_dir

TRL_NAMES = {
    "beta": "kl_coef",
    "bf16": "precision",
    "cliprange": "clip_range_low and clip_range_high",
    "cliprange_value": "clip_range_value",
    "epsilon": "clip_range_low",
    "epsilon_high": "clip_range_high",
    "gradient_accumulation_steps": "micro_batch_tokens",
    "lam": "gae_lambda",
    "learning_rate": "actor_learning_rate",
    "lr_scheduler_type": "lr_schedule",
    "mask_truncated_completions": "mask_truncated",
    "max_completion_length": "max_new_tokens",
    "max_prompt_length": "max_prompt_tokens",
    "max_steps": "steps",
    "num_iterations": "ppo_epochs",
    "num_mini_batches": "minibatch_size",
    "num_ppo_epochs": "ppo_epochs",
    "num_train_epochs": "steps",
    "per_device_train_batch_size": "batch_size",
    "response_length": "max_new_tokens",
    "reward_weights": "PPOTrainer(reward_weights=...)",
    "save_steps": "checkpoint_steps",
    "save_total_limit": "checkpoint_limit",
    "total_episodes": "steps",
    "use_vllm": "engine",
    "vllm_mode": "vllm",
    "vllm_server_base_url": "vllm",
    "warmup_steps": "lr_warmup_steps",
}
"""What settings of TRL's trainers are called here, for messages."""


class PPOConfig(PPOSettings):
    """The settings of a PPOTrainer.

    `PPOConfig("out", steps=100, kl_coef=0.0)` takes every setting of conf/rl/<preset>.yaml by its name, mappings
    (`vllm={"url": ...}`) in part; what is not named has the preset's value, and steps, batch, learning rates and
    lengths have those of conf/model/own.yaml, which suit models of some billion parameters. docs/ppo.md lists them.

    A type checker sees the settings as typed read-only attributes, but their names and types in a call are checked
    at run time only.

    Args:
        output_dir: Where checkpoints go; None: nothing is written.
        preset: `ppo`, `vc_ppo` or `vapo`.
        seed: Of everything random.
        device: `auto` (the first GPU where there is one), `cpu`, `mps`, `cuda`, `cuda:1`, ...
        **settings: Changes to the preset.

    Raises:
        ConfigError: Every unknown name, bad value and broken rule, in one message.
    """

    output_dir: str | None
    seed: Annotated[int, Field(ge=0, lt=2**63)]
    device: Annotated[str, Field(pattern=r"^(auto|cpu|mps|cuda(:\d+)?)$")]

    def __init__(
        self,
        output_dir: Any = None,
        *,
        preset: str = "ppo",
        seed: int = 0,
        device: str = "auto",
        **settings: Any,
    ) -> None:
        values = _merged(preset_values(preset), settings)
        values |= {"output_dir": None if output_dir is None else str(output_dir), "seed": seed, "device": device}
        described = []
        try:
            super().__init__(**values)
            values = self.model_dump()
        except ValidationError as error:
            described = [self._describe(fault) for fault in error.errors()]
        if faults := [*described, *(f"{key}: {text}" for key, text in faults_of_training(values))]:
            raise ConfigError.of(faults)

    @classmethod
    def of(cls, settings: PPOSettings, *, output_dir: str | None, seed: int, device: str) -> PPOConfig:
        """The same settings with what a trainer needs beside them."""
        return cls(output_dir, seed=seed, device=device, **settings.model_dump())

    @classmethod
    def _describe(cls, fault: Any) -> str:
        key = ".".join(map(str, fault["loc"]))
        if fault["type"] != "extra_forbidden":
            return f"{key}: {fault_text(fault)}" if key else fault_text(fault)
        if key in TRL_NAMES:
            return f"{key}: there is no such setting; what TRL calls so is set by {TRL_NAMES[key]} here"
        close = [] if "." in key else difflib.get_close_matches(key, cls.model_fields, n=1)
        hint = f"; did you mean {close[0]}?" if close else "; docs/ppo.md lists them"
        return f"{key}: there is no such setting{hint}"


def preset_values(preset: str) -> dict[str, Any]:
    """The settings of conf/rl/<preset>.yaml with the model's values of conf/model/own.yaml.

    Raises:
        ConfigError: There is no such preset of PPO.
    """
    known = sorted(path.stem for path in (packaged_dir("conf") / "rl").glob("*.yaml"))
    ours = [name for name in known if _chain(name).get("kind") == "ppo"]
    if preset not in ours:
        raise ConfigError(f"preset is one of {', '.join(ours)}; got {preset!r}")
    whole = OmegaConf.create({"model": _read("model/own")["model"], "rl": _chain(preset)})
    return cast("dict[str, Any]", OmegaConf.to_container(whole.rl, resolve=True))


def _chain(name: str) -> dict[str, Any]:
    """A file of conf/rl over those of its `defaults` list, as Hydra would compose them; nothing is interpolated."""
    values = _read(f"rl/{name}")
    parents = [parent for parent in values.pop("defaults", []) if parent != "_self_"]
    return functools.reduce(_merged, [*map(_chain, parents), values], {})


def _read(name: str) -> dict[str, Any]:
    return cast("dict[str, Any]", OmegaConf.to_container(OmegaConf.load(packaged_dir("conf") / f"{name}.yaml")))


def _merged(values: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """Changes over values; a mapping changes the mapping it meets."""
    merged = dict(values)
    for name, value in changes.items():
        before = merged.get(name)
        nested = isinstance(before, dict) and isinstance(value, dict)
        merged[name] = _merged(cast("dict[str, Any]", before), value) if nested else value
    return merged
