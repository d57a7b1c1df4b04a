"""What must be the same for a checkpoint to be gone on from: it is kept with it and compared before it is loaded."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.distributed.tensor import DTensor

from bai_sweep.config import TrainingSettings
from bai_sweep.ppo._prompts import PromptBatch
from bai_sweep.ppo.checkpoints._plain import plain
from bai_sweep.records import UserError

if TYPE_CHECKING:
    from peft import PeftConfig

FREE = frozenset(
    {
        "name",
        "checkpoint_steps",
        "checkpoint_limit",
        "gradient_checkpointing",
        "micro_batch_tokens",
        "static_cache",
        "vllm",
        "num_processes",
        "accelerate_config",
        "output_dir",
        "device",
    }
)
"""Settings that say how something is computed or kept, not what: who ran out of memory may change them and go on."""

LOADING = frozenset(
    {"auto_mapping", "base_model_name_or_path", "inference_mode", "lora_dropout", "peft_version", "revision"}
)
"""What a PEFT configuration says of an adapter's origin, and the dropout that is not applied."""

SAMPLED = 4096
"""Numbers of each tensor that tell one model from another."""


def fingerprint(
    reference: nn.Module,
    settings: TrainingSettings,
    weights: Mapping[str, float],
    batches: Sequence[PromptBatch],
    seed: int,
    *,
    adapter: PeftConfig | None = None,
    partly_frozen: Mapping[str, nn.Module] | None = None,
) -> dict[str, Any]:
    """What a run is, flat and as JSON has it.

    Args:
        reference: The frozen policy, which no checkpoint holds.
        settings: All but the free ones. `steps` is free where nothing depends on it: with a constant learning rate.
        weights: Of the reward functions, by name.
        batches: The prompts of every step.
        seed: The run's.
        adapter: The configuration of the adapter that is trained: its numbers scale weights that a checkpoint holds.
        partly_frozen: Further networks, by what messages call them; of their weights no checkpoint holds the frozen.
    """
    kept = settings.model_dump(mode="json", exclude={*FREE, "seed"})  # a PPOConfig has the seed too
    if settings.lr_schedule == "constant":
        del kept["steps"]
    return {
        **{f"rl.{name}": value for name, value in kept.items()},
        **{f"weight of {name}": weight for name, weight in weights.items()},
        "seed": seed,
        "reference": _digest_of_frozen(reference),
        **{name: _digest_of_frozen(module) for name, module in (partly_frozen or {}).items()},
        **({} if adapter is None else _of_adapter(adapter)),
        "prompts": [_digest_of_prompts(batch) for batch in batches],
    }


def check_fingerprint(saved: Mapping[str, Any], now: Mapping[str, Any], *, done: int, folder: Path) -> None:
    """Compares the fingerprint of a checkpoint in `folder`, `done` steps into its run, with this run's.

    Raises:
        UserError: They differ; every difference is shown.
    """
    names = sorted({*saved, *now} - {"prompts"})
    faults = [
        f"{name} was {saved.get(name, 'absent')!r}, now {now.get(name, 'absent')!r}"
        for name in names
        if saved.get(name) != now.get(name)
    ]
    steps = min(len(saved["prompts"]), len(now["prompts"]))
    other = [step for step in range(1, steps + 1) if saved["prompts"][step - 1] != now["prompts"][step - 1]]
    if other:
        faults.append(f"the prompts differ from step {other[0]} on")
    if done > len(now["prompts"]):
        faults.append(f"{done} steps are done, and rl.steps={len(now['prompts'])}")
    if faults:
        raise UserError(
            "a checkpoint is gone on from with the settings it was made with: "
            + "; ".join(faults)
            + f"; set them back, or remove {folder} to start again"
        )


def _of_adapter(config: PeftConfig) -> dict[str, Any]:
    said = {name: value for name, value in config.to_dict().items() if name not in LOADING}
    # Through JSON, as a checkpoint has it; a set (of the layers' names) has no order.
    return {f"adapter.{name}": json.loads(json.dumps(value, default=_sayable)) for name, value in said.items()}


def _sayable(value: object) -> object:
    return sorted(value, key=str) if isinstance(value, set | frozenset) else str(value)


def _digest_of_prompts(batch: PromptBatch) -> str:
    said = json.dumps(plain([batch.token_ids, batch.columns]), sort_keys=True)
    return hashlib.sha256(said.encode()).hexdigest()[:16]


@torch.no_grad()
def _digest_of_frozen(module: nn.Module) -> str:
    """Of some numbers of every frozen tensor; with an adapter the reference is the actor's frozen part."""
    digest = hashlib.sha256()
    for name, parameter in module.named_parameters():
        if parameter.requires_grad:
            continue
        whole = parameter.full_tensor() if isinstance(parameter, DTensor) else parameter
        some = whole.reshape(-1)[:: max(1, whole.numel() // SAMPLED)]
        digest.update(f"{name} {tuple(whole.shape)} {whole.dtype}".encode())
        digest.update(some.cpu().contiguous().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:16]
