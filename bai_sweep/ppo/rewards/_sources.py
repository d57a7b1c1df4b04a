"""What a user may name as rewards, made into `Rewards`."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import PurePath
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from bai_sweep.config import RewardConfig
from bai_sweep.ppo.rewards._functions import FunctionReward, import_function, name_of
from bai_sweep.ppo.rewards._models import ModelReward
from bai_sweep.ppo.rewards._rewards import Rewards, RewardSource
from bai_sweep.records import UserError
from bai_sweep.sources import fault_of

RewardFunction = Callable[..., Any] | PreTrainedModel | str
RewardFunctions = RewardFunction | Sequence[RewardFunction] | Mapping[str, RewardFunction]
Tokenizers = PreTrainedTokenizerBase | Sequence[PreTrainedTokenizerBase | None] | None


def configured_rewards(config: RewardConfig, device: torch.device) -> Rewards:
    """Those of a trial's configuration."""
    return make_rewards(
        functions_of(config), device, weights={name: entry.weight for name, entry in config.functions.items()}
    )


def functions_of(config: RewardConfig) -> dict[str, RewardFunction]:
    """The functions, imported, and reward models' checkpoints of a trial's configuration, by name.

    Raises:
        UserError: A function cannot be imported.
    """
    return {
        name: import_function(entry.function) if entry.function else str(entry.model)
        for name, entry in config.functions.items()
    }


def make_rewards(
    functions: RewardFunctions,
    device: torch.device,
    *,
    weights: Sequence[float] | Mapping[str, float] | None = None,
    tokenizers: Tokenizers = None,
) -> Rewards:
    """Rewards of one function, model or checkpoint, or of several, with or without names.

    Args:
        functions: What pays. In a sequence, each has the name that TRL gives it: of a function `__name__`, of a model
            the last part of the path it came from; where names repeat, a number is added.
        device: Where reward models run.
        weights: One each, in order or by name; None: 1 for all.
        tokenizers: Of reward models, one each in order; None where the model's own is meant.

    Raises:
        UserError: There is no reward, one is of no known kind, or weights or tokenizers do not match.
    """
    named = _named(functions)
    listed = list(tokenizers) if isinstance(tokenizers, Sequence) else [tokenizers] * len(named)
    if len(listed) != len(named):
        raise UserError(
            f"reward_processing_classes has one entry for each of {len(named)} reward functions (None for those that "
            f"are no models); got {len(listed)}"
        )
    sources = {
        name: _source(function, name, device, tokenizer)
        for (name, function), tokenizer in zip(named.items(), listed, strict=True)
    }
    return Rewards(sources, _weights(weights, list(named)))


def _named(functions: RewardFunctions) -> dict[str, RewardFunction]:
    named: dict[str, RewardFunction] = {}
    if isinstance(functions, Mapping):
        named = dict(functions)
    elif isinstance(functions, Sequence) and not isinstance(functions, str):
        for function in functions:
            named[_free(_name(function), named)] = function
    else:
        named = {_name(functions): functions}
    if not named:
        raise UserError("PPO needs a reward: reward_funcs is empty; give a function or a reward model")
    return named


def _name(function: RewardFunction) -> str:
    if isinstance(function, str):
        name = PurePath(function.partition("@")[0]).name
    elif isinstance(function, nn.Module):
        origin = str(getattr(function.config, "_name_or_path", ""))
        name = PurePath(origin).name or type(function).__name__
    else:
        name = name_of(function)
    return re.sub(r"[^\w.-]+", "", name) or "reward"  # `<lambda>` is no name for a metric


def _free(name: str, taken: Mapping[str, Any]) -> str:
    numbered = [name, *(f"{name}_{i}" for i in range(2, len(taken) + 2))]
    return next(candidate for candidate in numbered if candidate not in taken)


def _source(
    function: RewardFunction, name: str, device: torch.device, tokenizer: PreTrainedTokenizerBase | None
) -> RewardSource:
    if isinstance(function, str):
        if fault := fault_of(function):
            raise UserError(f"a reward function is a callable or a reward model; {fault}")
        return ModelReward(function, device, tokenizer)
    if isinstance(function, PreTrainedModel):
        return ModelReward(function, device, tokenizer)
    return FunctionReward(function, name)


def _weights(weights: Sequence[float] | Mapping[str, float] | None, names: Sequence[str]) -> dict[str, float]:
    if weights is None:
        return dict.fromkeys(names, 1.0)
    if not isinstance(weights, Sequence | Mapping):
        raise UserError(f"reward_weights has one weight for each of {', '.join(names)}; got {weights!r}; pass a list")
    if len(weights) != len(names) or (isinstance(weights, Mapping) and set(weights) != set(names)):
        got = f"those of {', '.join(weights)}" if isinstance(weights, Mapping) else str(list(weights))
        raise UserError(f"reward_weights has one weight for each of {', '.join(names)}; got {got}")
    values = [weights[name] for name in names] if isinstance(weights, Mapping) else list(weights)
    if not all(math.isfinite(value) for value in values):
        raise UserError(f"reward_weights are finite numbers; got {values}")
    return dict(zip(names, map(float, values), strict=True))
