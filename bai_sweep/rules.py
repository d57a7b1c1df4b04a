"""Rules between the settings of a training run.

They are read from plain values, well-formed or not, so that what breaks them shows beside the faults of single fields.
A rule whose settings are absent, or no numbers in their range, is left out: those have a fault of their own.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

Fault = tuple[str, str]
"""The name of a setting, and what is wrong with it."""


def faults_of_training(rl: Mapping[str, Any]) -> Iterator[Fault]:
    """What is wrong between the settings of PPO, GRPO or RLOO.

    Args:
        rl: Values by name, of the kind that `rl["kind"]` says.

    Yields:
        Each setting that breaks a rule, and the rule with the values.
    """
    yield from _batches(rl)
    if rl.get("kind") == "ppo":
        yield from _overlong(rl)
        yield from _warmups(rl)
        yield from _kl_target(rl)
    elif rl.get("kind") in ("grpo", "rloo"):
        yield from _groups(rl)


def _batches(rl: Mapping[str, Any]) -> Iterator[Fault]:
    batch, minibatch = _count(rl, "batch_size"), _count(rl, "minibatch_size")
    generations, processes = _count(rl, "num_generations"), _count(rl, "num_processes")
    if batch and minibatch and batch % minibatch:
        yield "minibatch_size", f"must divide batch_size; {batch} / {minibatch} leaves {batch % minibatch}"
    if batch and generations and batch % generations:
        yield "batch_size", f"holds whole groups of num_generations={generations}; got {batch}"
    if batch and minibatch and processes and (batch % processes or minibatch % processes):
        yield (
            "num_processes",
            f"processes share every minibatch and batch evenly; {processes} do not share "
            f"minibatch_size={minibatch}, batch_size={batch}",
        )


def _overlong(rl: Mapping[str, Any]) -> Iterator[Fault]:
    longest, alpha = _count(rl, "max_new_tokens"), _number(rl, "gae_length_alpha")
    buffer, penalty = _number(rl, "overlong_buffer"), _number(rl, "overlong_penalty")
    if buffer is not None and penalty is not None and bool(buffer) != bool(penalty):
        yield (
            "overlong_penalty",
            "grows over the last overlong_buffer tokens, so both are above 0 or neither; got "
            f"{penalty} and overlong_buffer={buffer}",
        )
    if buffer and longest and buffer > longest:
        yield "overlong_buffer", f"is the last part of max_new_tokens={longest}; got {buffer}"
    if alpha and longest and alpha * longest <= 1.0:
        yield (
            "gae_length_alpha",
            "gae_length_alpha * max_new_tokens is above 1, or lambda = 1 - 1 / (alpha * length) is 0 for every "
            f"response; got {alpha} * {longest}; raise gae_length_alpha",
        )


def _warmups(rl: Mapping[str, Any]) -> Iterator[Fault]:
    steps, critic, rate = _count(rl, "steps"), _number(rl, "critic_warmup_steps"), _number(rl, "lr_warmup_steps")
    if steps is None or critic is None:
        return
    if critic >= steps:
        yield (
            "critic_warmup_steps",
            f"trains no actor, so it is below steps={steps}; got {critic}; raise steps or lower critic_warmup_steps",
        )
    elif rate is not None and rate >= steps - critic:
        yield (
            "lr_warmup_steps",
            f"leaves steps at the full learning rate, so it is below {steps} steps less {critic} of the critic's "
            f"warm-up; got {rate}",
        )


def _kl_target(rl: Mapping[str, Any]) -> Iterator[Fault]:
    target, coefficient = _number(rl, "kl_target"), _number(rl, "kl_coef")
    batch, horizon = _count(rl, "batch_size"), _count(rl, "kl_horizon")
    if target is None:
        return
    if coefficient == 0:
        yield (
            "kl_target",
            f"adapts kl_coef by factors, so that starts above 0; got kl_coef=0 with {target}; set kl_coef",
        )
    if batch and horizon and horizon < batch:
        yield "kl_horizon", f"spans a batch at least, batch_size={batch}; got {horizon}"


def _groups(rl: Mapping[str, Any]) -> Iterator[Fault]:
    if _count(rl, "num_generations") == 1:
        yield "num_generations", "1 leaves nothing to compare; use 2 or more"
    for name in ("loss_type", "scale_rewards"):
        value = rl.get(name, "")
        if rl["kind"] == "grpo" and value is None:
            yield name, "says how GRPO learns; got null; conf/rl/grpo.yaml has the usual value"
        if rl["kind"] == "rloo" and value is not None and name in rl:
            yield name, f"is GRPO's and RLOO has none; got {value!r}; set it to null"


def _count(rl: Mapping[str, Any], name: str) -> int | None:
    value = rl.get(name)
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 1 else None


def _number(rl: Mapping[str, Any], name: str) -> float | None:
    value = rl.get(name)
    if not isinstance(value, int | float) or isinstance(value, bool) or not math.isfinite(value):
        return None
    return value if value >= 0 else None
