"""The PPO stage of a trial: from its configuration to a trained actor and telemetry."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from bai_sweep.config import GroupSettings, PPOSettings, RewardConfig
from bai_sweep.ppo._config import PPOConfig
from bai_sweep.ppo._prompts import read_prompts
from bai_sweep.ppo._trainer import PPOTrainer
from bai_sweep.ppo.processes import Processes, train_in_processes
from bai_sweep.ppo.rewards import functions_of
from bai_sweep.records import StepTelemetry
from bai_sweep.signals import StopRequested


def train(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    settings: PPOSettings | GroupSettings,
    reward: RewardConfig,
    *,
    seed: int,
    device: torch.device,
    on_step: Callable[[StepTelemetry], None],
    folder: Path | None = None,
    probes: Mapping[str, str] | None = None,
) -> tuple[StepTelemetry, ...]:
    """Trains `model` in place, with PPO or with TRL's GRPO or RLOO.

    The same seed on the same machine with the same number of threads gives the same telemetry, but for times and
    memory. Nothing is drawn from the global random states; checkpoints keep them.

    Args:
        model: The actor; moved to `device` and left there, in evaluation mode.
        tokenizer: Its tokenizer, with an EOS token and, for conversations, a chat template.
        settings: The hyperparameters, whose kind says what trains.
        reward: Prompts and reward functions.
        seed: Seed of prompts, sampling and minibatches.
        device: Where to train.
        on_step: Called with each step's telemetry as soon as there is one; what it raises ends the training: at once,
            or, as `StopRequested`, once there is a checkpoint of that step (without `checkpoint_steps`: none).
        folder: The trial's, for checkpoints, from which it goes on if there are some, and for the batch of a
            divergence; None: nothing is written.
        probes: Where the models are to which PPO reports the KL too, by name.

    Returns:
        The telemetry of every step.

    Raises:
        UserError: Prompts, tokenizer, critic or rewards break a rule (see their modules).
        DivergenceError: A loss or gradient is not finite.
        StopRequested: `on_step` raised it.
    """
    if isinstance(settings, GroupSettings):
        from bai_sweep.ppo.groups._trl import train_with_trl  # imports TRL's trainers

        return train_with_trl(
            model, tokenizer, settings, reward, seed=seed, device=device, on_step=on_step, folder=folder
        )
    if settings.num_processes > 1 and Processes.join().count == 1:
        return train_in_processes(
            model, tokenizer, settings, reward, seed=seed, device=device, on_step=on_step, probes=probes, folder=folder
        )
    config = PPOConfig.of(settings, output_dir=None if folder is None else str(folder), seed=seed, device=str(device))
    trainer = _trainer(model, tokenizer, config, reward, probes)
    with closing(trainer.steps(resume_from_checkpoint=folder is not None)) as steps:
        telemetry = tuple(_heard(trainer, steps, on_step))
    trainer.networks.finish()
    return telemetry


def _trainer(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    config: PPOConfig,
    reward: RewardConfig,
    probes: Mapping[str, str] | None,
) -> PPOTrainer:
    return PPOTrainer(
        model,
        functions_of(reward),
        config,
        prompts_of(reward, config, config.seed),
        tokenizer,
        reward_weights={name: entry.weight for name, entry in reward.functions.items()},
        probes=probes,
    )


def _heard(
    trainer: PPOTrainer,
    steps: Generator[StepTelemetry, None, None],
    on_step: Callable[[StepTelemetry], None],
) -> Iterator[StepTelemetry]:
    for record in steps:
        try:
            on_step(record)
        except StopRequested:
            trainer.stop()
            for _ in steps:  # none is trained any more: the trainer, with the other processes, keeps what it has
                pass
            trainer.networks.finish()  # as the others do, who do not hear why it is over
            raise
        yield record


def prompts_of(reward: RewardConfig, settings: PPOSettings, seed: int) -> list[dict[str, Any]]:
    """The rows of the prompt dataset, with the prompt under the name `prompt`."""
    rows = read_prompts(reward.prompts, seed=seed, needed=settings.steps * settings.batch_size)
    column = reward.prompts.column
    return [{"prompt": row[column], **{k: v for k, v in row.items() if k not in {column, "prompt"}}} for row in rows]
