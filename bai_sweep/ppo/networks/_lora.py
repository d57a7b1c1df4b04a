"""Adapters: few trained weights in a model whose own are frozen, and copies that share the frozen ones.

PEFT's low-rank layers are put into the model in place, so the causal language model itself goes on being called.
"""

from __future__ import annotations

import copy
import logging
import warnings
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
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


def shares_weights(one: nn.Module, other: nn.Module) -> bool:
    """Whether training one would change the other."""
    return not {id(p) for p in one.parameters()}.isdisjoint(id(p) for p in other.parameters())


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
        UserError: Its adapter is a prompt, which the model alone would not see, or stands on a tied layer.
    """
    if isinstance(model, PreTrainedModel):
        return model, None
    _check(model.active_peft_config)
    check_untied(model)
    return cast(PreTrainedModel, model.get_base_model()), model


def add_adapter(actor: PreTrainedModel, config: PeftConfig, seed: int) -> PeftModel:
    """Freezes the actor and puts an adapter into it, which changes no output until it has learned.

    Raises:
        UserError: PEFT cannot put this adapter into this model, or would put it on a tied layer.
    """
    _check(config)
    wrapped: PeftModel = _injected(actor, lambda model: _peft().get_peft_model(model, copy.deepcopy(config)), seed)
    check_untied(wrapped)
    return wrapped


def check_untied(model: PeftModel) -> None:
    """Whether each adapter is on a layer whose weights no other layer uses.

    Raises:
        UserError: Merged, it would change the other layer too: the plain model would not be the trained one.
    """
    from peft.tuners.tuners_utils import BaseTunerLayer  # there is a PEFT model: peft is installed

    uses = Counter(id(parameter) for _, parameter in model.named_parameters(remove_duplicate=False))
    for name, layer in model.named_modules():
        if isinstance(layer, BaseTunerLayer) and any(uses[id(p)] > 1 for p in layer.get_base_layer().parameters()):
            raise UserError(
                f"an adapter is on a layer that has its weights alone; those of {name} are tied to another's, which "
                "would change when the adapter is merged; leave it out of target_modules"
            )


@contextmanager
def unchanged_on_error(*models: nn.Module) -> Iterator[None]:
    """If what is inside raises, the models train again what they trained before, and have no new adapters."""
    trained = [(parameter, parameter.requires_grad) for model in models for parameter in model.parameters()]
    before = {module for model in models for module in model.modules()}
    plain = [module for module in before if not hasattr(module, "peft_config")]
    try:
        yield
    except BaseException:
        # Not PEFT's unload: it may have failed before there was a PEFT model, with some layers put in.
        for model in models:
            for name, module in list(model.named_modules()):
                if module not in before and hasattr(module, "base_layer"):
                    model.set_submodule(name, cast(nn.Module, module.base_layer))
        for module in plain:
            module.__dict__.pop("peft_config", None)
        for parameter, requires_grad in trained:
            parameter.requires_grad_(requires_grad)
        raise


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
            with warnings.catch_warnings():
                # PEFT 0.21 asks a model whether it checkpoints by a name that transformers 5.23 deprecates.
                warnings.filterwarnings("ignore", "`is_gradient_checkpointing` is deprecated", FutureWarning)
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
