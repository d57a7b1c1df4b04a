"""Adapters: few trained weights in a model whose own are frozen, and copies that share the frozen ones.

PEFT's low-rank layers are put into the model in place, so the causal language model itself goes on being called.
"""

from __future__ import annotations

import copy
import logging
from typing import TYPE_CHECKING, Any, TypeVar, cast

import torch
from torch import nn
from transformers import PreTrainedModel

from bai_sweep.config import LoRASettings
from bai_sweep.records import UserError

if TYPE_CHECKING:
    from peft import PeftConfig, PeftModel

log = logging.getLogger(__name__)
M = TypeVar("M", bound=nn.Module)


def copy_sharing_frozen(model: M) -> M:
    """A copy whose trainable weights are its own and whose frozen ones are the model's: they take no memory twice."""
    frozen = {id(p): p for p in model.parameters() if not p.requires_grad}
    return copy.deepcopy(model, frozen)


def lora_config(settings: LoRASettings) -> PeftConfig:
    """The settings as PEFT's.

    Raises:
        UserError: PEFT is not installed.
    """
    targets = settings.target_modules
    config: PeftConfig = _peft().LoraConfig(
        r=settings.r,
        lora_alpha=settings.alpha,
        target_modules=targets if isinstance(targets, str) else list(targets),
        task_type="CAUSAL_LM",
    )
    return config


def opened(model: PreTrainedModel | PeftModel) -> tuple[PreTrainedModel, PeftModel | None]:
    """A causal language model, and the PEFT model around it if there is one, whose adapter then goes on learning.

    Raises:
        UserError: Its adapter is a prompt, which the model alone would not see.
    """
    if isinstance(model, PreTrainedModel):
        return model, None
    config = model.active_peft_config
    _check(config)
    model.set_adapter(model.active_adapter)  # trainable, also if it was loaded for inference
    return cast(PreTrainedModel, model.get_base_model()), model


def add_adapter(actor: PreTrainedModel, config: PeftConfig, seed: int) -> PeftModel:
    """Freezes the actor and puts an adapter into it, which changes no output until it has learned.

    Raises:
        UserError: PEFT cannot put this adapter into this model.
    """
    _check(config)
    wrapped: PeftModel = _injected(actor, lambda model: _peft().get_peft_model(model, copy.deepcopy(config)), seed)
    return wrapped


def add_layers(backbone: PreTrainedModel, config: PeftConfig, seed: int) -> None:
    """The same for a network that PEFT does not wrap, as the critic's; one that has adapters keeps them.

    Raises:
        UserError: PEFT cannot put this adapter into this model.
    """
    from peft.tuners.tuners_utils import BaseTunerLayer

    if any(isinstance(module, BaseTunerLayer) for module in backbone.modules()):
        return
    _injected(backbone, lambda model: _peft().inject_adapter_in_model(copy.deepcopy(config), model), seed)


def _injected(model: PreTrainedModel, inject: Any, seed: int) -> Any:
    # PEFT draws from torch's global CPU generator, which is left as it was.
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        try:
            changed = inject(model)
        except ValueError as error:
            raise UserError(
                f"an adapter goes into layers that the network has; {type(model).__name__}: {error}; "
                "change target_modules, all-linear takes every linear layer"
            ) from error
    return changed.eval()


def _check(config: PeftConfig) -> None:
    if config.is_prompt_learning or config.is_adaption_prompt:
        raise UserError(
            f"PPO trains adapters that stand in the model's layers; {config.peft_type} stands before them; use LoRA"
        )
    if dropout := getattr(config, "lora_dropout", 0.0):
        log.warning(
            "lora_dropout=%g is not applied: with dropout, the ratio of two equal policies would not be 1",
            dropout,
        )


def _peft() -> Any:
    try:
        import peft
    except ImportError as error:
        raise UserError("rl.lora needs PEFT, which is not installed; pip install 'bai-sweep[lora]'") from error
    return peft
