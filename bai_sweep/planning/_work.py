"""How much is computed in a trial, and how long that takes by the models' sizes alone.

A token takes 2 FLOPs of each parameter that it is multiplied with in a forward pass and 4 more in a backward pass
(Kaplan et al. 2020, arXiv 2001.08361, section 2.1); attention's own products are left out, a tenth of it at 3,000
tokens in a model of 1.5 billion parameters.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil

from bai_sweep.config import NoRL, PPOSettings, TrialConfig
from bai_sweep.planning._assumptions import Assumptions, Device
from bai_sweep.planning._items import Counted
from bai_sweep.planning._sizes import Placed, Sizes


@dataclass(frozen=True)
class StepWork:
    """FLOPs of one PPO step at the longest responses, by phase, and the decoding steps of its rollout."""

    rollout: float
    scoring: float
    training: float
    decoding_steps: int

    @property
    def total(self) -> float:
        """FLOPs of the step."""
        return self.rollout + self.scoring + self.training


def row_tokens(config: TrialConfig, assumed: Assumptions, positions: int | None = None) -> int:
    """Tokens of a row of PPO at most: a prompt as assumed and the longest response, within the model's positions."""
    if isinstance(config.rl, NoRL):
        return 0
    prompt = min(assumed.prompt_tokens, config.rl.max_prompt_tokens)
    longest = prompt + config.rl.max_new_tokens
    return longest if positions is None else min(longest, positions)


def step_work(config: TrialConfig, sizes: Sizes, assumed: Assumptions) -> StepWork | None:
    """A step's work; None without RL, or where a network's size is not known."""
    rl, actor = config.rl, sizes.actor
    if isinstance(rl, NoRL) or actor is None or not sizes.complete:
        return None
    positions = actor.shape.positions if actor.shape else None
    tokens = rl.batch_size * row_tokens(config, assumed, positions)
    passes = rl.ppo_epochs if isinstance(rl, PPOSettings) else rl.num_iterations
    return StepWork(
        rollout=2.0 * actor.multiplied * tokens,
        scoring=sum(2.0 * placed.network.multiplied * tokens for placed in sizes.networks),
        training=sum(_training_flops(placed, recomputed=rl.gradient_checkpointing) for placed in sizes.networks)
        * tokens
        * passes,
        decoding_steps=rl.max_new_tokens,
    )


def _training_flops(placed: Placed, *, recomputed: bool) -> float:
    """FLOPs of a token in a training pass: forward 2, backward by the activations 2 and by the weights 2, again 2."""
    if not placed.trained:
        return 0.0
    whole = placed.trained == placed.network.parameters
    factor = 4.0 + (2.0 if whole else 0.0) + (2.0 if recomputed else 0.0)
    return factor * placed.network.multiplied


def step_seconds(config: TrialConfig, sizes: Sizes, device: Device, assumed: Assumptions) -> float | None:
    """Seconds of a step: its FLOPs at the assumed rate, and decoding steps that read weights and launch kernels."""
    work = step_work(config, sizes, assumed)
    if work is None:
        return None
    computing = work.total / (device.flops * device.count * assumed.utilisation)
    served = isinstance(config.rl, PPOSettings) and config.rl.engine == "vllm"
    return computing + work.decoding_steps * _decoding(sizes, device, assumed, launches=not served)


def evaluation_seconds(
    config: TrialConfig, items: Mapping[str, Counted], sizes: Sizes, device: Device, assumed: Assumptions
) -> dict[str, float]:
    """Seconds of each benchmark whose items are counted; none where the actor's size is not known."""
    actor = sizes.actor
    if actor is None:
        return {}
    answer = min(assumed.answer_tokens, config.evaluation.max_new_tokens)
    found = {}
    for name, counted in items.items():
        if counted.items is None:
            continue
        drawn = answer if counted.generates else 0
        tokens = counted.requests * (assumed.question_tokens + drawn)
        batches = ceil(tokens / config.evaluation.batch_tokens)
        decoding = batches * drawn * _decoding(sizes, device, assumed, launches=True)
        found[name] = 2.0 * actor.multiplied * tokens / (device.flops * assumed.utilisation) + decoding
    return found


def _decoding(sizes: Sizes, device: Device, assumed: Assumptions, *, launches: bool) -> float:
    """Seconds of a decoding step that do not depend on its rows."""
    placed = next(one for one in sizes.networks if one.role == "actor")
    layers = placed.network.shape.layers if placed.network.shape else 0
    reading = placed.network.multiplied * placed.width / device.bandwidth
    return reading + (layers * assumed.launch_seconds if launches else 0.0)
