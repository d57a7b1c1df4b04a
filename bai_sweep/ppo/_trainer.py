"""The PPO loop: sample, score, learn, report."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import final

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from bai_sweep.config import PPOSettings, RewardConfig
from bai_sweep.generation import eos_ids, sample
from bai_sweep.ppo._experience import experience_of, judge
from bai_sweep.ppo._networks import Networks
from bai_sweep.ppo._prompts import PromptBatch, prompt_batches
from bai_sweep.ppo._reward import Rewards, completion_texts
from bai_sweep.ppo._rollout import Rollout
from bai_sweep.ppo._telemetry import describe, timings
from bai_sweep.ppo._update import Updater
from bai_sweep.records import StepTelemetry, UserError


def train(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    settings: PPOSettings,
    reward: RewardConfig,
    *,
    seed: int,
    device: torch.device,
    on_step: Callable[[StepTelemetry], None],
) -> tuple[StepTelemetry, ...]:
    """Trains `model` in place with PPO.

    The same seed on the same machine with the same number of threads gives the same telemetry, but for the names
    that begin with `seconds/` and `tokens_per_second/`. No global random state is read or changed.

    Args:
        model: The actor; moved to `device` and left there, in evaluation mode.
        tokenizer: Its tokenizer, with an EOS token and, for conversations, a chat template.
        settings: PPO's hyperparameters.
        reward: Prompts and reward functions.
        seed: Seed of prompts, sampling and minibatches.
        device: Where to train.
        on_step: Called with each step's telemetry as soon as there is one; what it raises ends the training.

    Returns:
        The telemetry of every step.

    Raises:
        UserError: Prompts, tokenizer, critic or rewards break a rule (see their modules).
        DivergenceError: A loss or gradient is not finite.
    """
    if tokenizer.eos_token_id is None:
        raise UserError("PPO needs to know where a completion ends; this tokenizer has no EOS token; set eos_token")
    batches = prompt_batches(
        reward.prompts,
        tokenizer,
        steps=settings.steps,
        batch_size=settings.batch_size,
        max_prompt_tokens=settings.max_prompt_tokens,
        seed=seed,
    )
    longest = max(len(ids) for batch in batches for ids in batch.token_ids) + settings.max_new_tokens
    networks = Networks.of(model, settings, device, longest)
    loop = _Loop(networks, tokenizer, settings, Rewards(reward, device), seed)
    telemetry = []
    for step, batch in enumerate(batches, start=1):
        telemetry.append(StepTelemetry(step, loop.step(step, batch)))
        on_step(telemetry[-1])
    return tuple(telemetry)


@final
class _Loop:
    """What lasts from step to step: networks, optimizers, random generators."""

    def __init__(
        self,
        networks: Networks,
        tokenizer: PreTrainedTokenizerBase,
        settings: PPOSettings,
        rewards: Rewards,
        seed: int,
    ) -> None:
        self.networks, self.tokenizer, self.settings, self.rewards = networks, tokenizer, settings, rewards
        self.ends = eos_ids(networks.actor, tokenizer)
        self.hidden = {*self.ends, *([] if tokenizer.pad_token_id is None else [int(tokenizer.pad_token_id)])}
        self.sampling = _generator(seed, "sampling")
        self.updater = Updater(networks, settings, _generator(seed, "minibatches"))

    def step(self, step: int, batch: PromptBatch) -> dict[str, float]:
        """One batch: rollout, scoring, training; returns its metrics."""
        clock = [time.perf_counter()]
        rollout, completions = self._rollout(batch)
        clock.append(time.perf_counter())
        texts = completion_texts(self.tokenizer, completions, self.hidden)
        scored = self.rewards.score(batch, texts, completions, rollout.ended.tolist(), step=step)
        scores = torch.tensor(scored.total, device=rollout.input_ids.device)
        experience = experience_of(rollout, judge(self.networks, rollout, self.settings), scores, self.settings)
        clock.append(time.perf_counter())
        learned = self.updater.update(experience, step=step)
        clock.append(time.perf_counter())
        return {
            **describe(experience),
            **learned,
            **{f"rewards/{name}/mean": mean for name, mean in scored.means.items()},
            "episode": float(step * self.settings.batch_size),
            "lr": self.settings.actor_learning_rate,
            **timings(clock, int(rollout.lengths.sum())),
        }

    def _rollout(self, batch: PromptBatch) -> tuple[Rollout, list[list[int]]]:
        samples = sample(
            self.networks.actor,
            batch.token_ids,
            max_new_tokens=self.settings.max_new_tokens,
            temperature=self.settings.temperature,
            eos_token_ids=self.ends,
            generator=self.sampling,
        )
        return Rollout.of(batch.token_ids, samples), samples.completions()


def _generator(seed: int, purpose: str) -> torch.Generator:
    """A random stream of its own for each purpose, so that changing one leaves the others as they were."""
    return torch.Generator().manual_seed(random.Random(f"{seed}/{purpose}").getrandbits(63))
