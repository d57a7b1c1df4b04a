"""What is used of accelerate's configuration: whether weights are sharded, and how."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from bai_sweep.config import PPOSettings
from bai_sweep.records import UserError

SHIPPED = Path(__file__).with_name("accelerate")
PLAIN = ("NO", "MULTI_CPU", "MULTI_GPU")


def check_launch(settings: PPOSettings) -> None:
    """Whether the processes of a run could be started.

    Raises:
        UserError: Their configuration cannot be used, or there is one for a single process.
    """
    if settings.accelerate_config is not None and settings.num_processes == 1:
        raise UserError(
            "rl.accelerate_config is how several processes share a run; rl.num_processes is 1; set it to the number "
            "of GPUs"
        )
    environment_of(settings.accelerate_config)


def environment_of(name: str | None) -> dict[str, str]:
    """What `accelerate launch --config_file` would put into the environment of a process.

    Args:
        name: Of a shipped configuration, or the path of one; None: plain data parallel.

    Raises:
        UserError: There is none, or it asks for something that PPO does not do.
    """
    if name is None:
        return {}
    path = _path(name)
    try:
        raw = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise UserError(f"rl.accelerate_config is a YAML file of accelerate's; {path}: {error}") from error
    if not isinstance(raw, Mapping) or "distributed_type" not in raw:
        raise UserError(f"rl.accelerate_config is a YAML file of accelerate's; {path} has no distributed_type")
    kind = str(raw["distributed_type"])
    if kind in PLAIN:
        return {}
    if kind != "FSDP":
        raise UserError(
            f"PPO runs with distributed_type {', '.join(PLAIN)} or FSDP (version 2); {path} has {kind}; use fsdp2"
        )
    options = {str(key).removeprefix("fsdp_"): value for key, value in (raw.get("fsdp_config") or {}).items()}
    names = ("version", "reshard_after_forward", "offload_params", "activation_checkpointing")
    given = {f"FSDP_{key.upper()}": str(options[key]).lower() for key in names if key in options}
    environment = {"ACCELERATE_USE_FSDP": "true", **given}
    sharding_of(environment)
    return environment


def sharding_of(environment: Mapping[str, str]) -> bool | None:
    """Whether sharded weights are freed again after each forward pass; None: weights are not sharded.

    Args:
        environment: As accelerate's launcher sets it.

    Raises:
        UserError: It asks for something that PPO does not do.
    """
    if _true(environment, "ACCELERATE_USE_DEEPSPEED"):
        raise UserError("PPO does not run under DeepSpeed; launch it with FSDP version 2, or without either")
    if not _true(environment, "ACCELERATE_USE_FSDP"):
        return None
    version = environment.get("FSDP_VERSION", "1")
    if version != "2":
        raise UserError(f"PPO shards with FSDP version 2; got fsdp_version {version}; set it to 2")
    for name, instead in (
        ("FSDP_OFFLOAD_PARAMS", "use more GPUs, or rl.lora"),
        ("FSDP_ACTIVATION_CHECKPOINTING", "set rl.gradient_checkpointing=true"),
    ):
        if _true(environment, name):
            raise UserError(f"PPO does not use accelerate's {name.lower()}; set it to false and {instead}")
    return environment.get("FSDP_RESHARD_AFTER_FORWARD", "true").lower() not in ("false", "0", "no_shard")


def _path(name: str) -> Path:
    shipped = sorted(path.stem for path in SHIPPED.glob("*.yaml"))
    path = SHIPPED / f"{name}.yaml" if name in shipped else Path(name).expanduser()
    if not path.is_file():
        raise UserError(
            f"rl.accelerate_config is one of {', '.join(shipped)}, or the path of accelerate's YAML; got {name!r}"
        )
    return path


def _true(environment: Mapping[str, Any], name: str) -> bool:
    return str(environment.get(name, "false")).lower() in ("true", "1")
