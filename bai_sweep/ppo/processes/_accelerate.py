"""What is used of accelerate's configuration: whether weights or optimizer states are divided, and how."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import yaml

from bai_sweep.config import PPOSettings
from bai_sweep.records import UserError

SHIPPED = Path(__file__).with_name("accelerate")
PLAIN = ("NO", "MULTI_CPU", "MULTI_GPU")
FSDP = {
    f"fsdp_{name}": f"FSDP_{name.upper()}"
    for name in ("version", "reshard_after_forward", "offload_params", "activation_checkpointing")
}
"""The environment variable of each option that is looked at."""
DEEPSPEED = {
    "zero_stage": "ACCELERATE_DEEPSPEED_ZERO_STAGE",
    "gradient_clipping": "ACCELERATE_GRADIENT_CLIPPING",
    "offload_optimizer_device": "ACCELERATE_DEEPSPEED_OFFLOAD_OPTIMIZER_DEVICE",
    "offload_param_device": "ACCELERATE_DEEPSPEED_OFFLOAD_PARAM_DEVICE",
    "deepspeed_config_file": "ACCELERATE_DEEPSPEED_CONFIG_FILE",
}
INSTEAD = {"gradient_clipping": " and set rl.max_grad_norm"}


def check_launch(settings: PPOSettings) -> None:
    """Whether the processes of a run could be started.

    Raises:
        UserError: Their configuration cannot be used, there is one for a single process, or it needs a package.
    """
    if settings.accelerate_config is not None and settings.num_processes == 1:
        raise UserError(
            "rl.accelerate_config is how several processes share a run; rl.num_processes is 1; set it to the number "
            "of GPUs"
        )
    zero_of(environment_of(settings.accelerate_config))


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
    if kind == "DEEPSPEED":
        environment = _environment(raw.get("deepspeed_config") or {}, DEEPSPEED, "ACCELERATE_USE_DEEPSPEED")
    elif kind == "FSDP":
        environment = _environment(raw.get("fsdp_config") or {}, FSDP, "ACCELERATE_USE_FSDP")
    else:
        raise UserError(
            f"PPO runs with distributed_type {', '.join(PLAIN)}, FSDP (version 2) or DEEPSPEED (ZeRO-2); {path} has "
            f"{kind}; use fsdp2"
        )
    _check(environment)
    return environment


def sharding_of(environment: Mapping[str, str]) -> bool | None:
    """Whether sharded weights are freed again after each forward pass; None: weights are not sharded.

    Args:
        environment: As accelerate's launcher sets it.

    Raises:
        UserError: It asks for something that PPO does not do.
    """
    if not _true(environment, "ACCELERATE_USE_FSDP"):
        return None
    _check(environment)
    return environment.get("FSDP_RESHARD_AFTER_FORWARD", "true").lower() not in ("false", "0", "no_shard")


def zero_of(environment: Mapping[str, str]) -> bool:
    """Whether DeepSpeed's ZeRO-2 divides gradients and optimizer states.

    Args:
        environment: As accelerate's launcher sets it.

    Raises:
        UserError: It asks for something that PPO does not do, or DeepSpeed is not installed.
    """
    if not _true(environment, "ACCELERATE_USE_DEEPSPEED"):
        return False
    _check(environment)
    if find_spec("deepspeed") is None:
        raise UserError(
            "rl.accelerate_config with DeepSpeed needs the package deepspeed, which is not installed; pip install "
            "'bai-sweep[deepspeed]'"
        )
    return True


def _environment(options: Mapping[str, Any], names: Mapping[str, str], switch: str) -> dict[str, str]:
    given = {variable: str(options[key]).lower() for key, variable in names.items() if key in options}
    return {switch: "true", **given}


def _check(environment: Mapping[str, str]) -> None:
    """Refuses what PPO does not do."""
    if _true(environment, "ACCELERATE_USE_FSDP"):
        version = environment.get("FSDP_VERSION", "1")
        if version != "2":
            raise UserError(f"PPO shards with FSDP version 2; got fsdp_version {version}; set it to 2")
        for name, instead in (
            ("FSDP_OFFLOAD_PARAMS", "use more GPUs, or rl.lora"),
            ("FSDP_ACTIVATION_CHECKPOINTING", "set rl.gradient_checkpointing=true"),
        ):
            if _true(environment, name):
                raise UserError(f"PPO does not use accelerate's {name.lower()}; set it to false and {instead}")
    if _true(environment, "ACCELERATE_USE_DEEPSPEED"):
        stage = environment.get("ACCELERATE_DEEPSPEED_ZERO_STAGE", "2")
        if stage != "2":
            raise UserError(
                f"PPO runs under DeepSpeed with ZeRO-2; got zero_stage {stage}; set it to 2, or shard weights too "
                "with fsdp2"
            )
        for key, variable in DEEPSPEED.items():
            if key != "zero_stage" and environment.get(variable, "none") != "none":
                raise UserError(f"PPO does not use accelerate's {key}; leave it out{INSTEAD.get(key, '')}")


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
