"""What is ours in a run of TRL's trainers: rollouts, rewards, telemetry, checkpoints."""

from __future__ import annotations

import copy
import dataclasses
import logging
import math
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, final

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from bai_sweep.config import GroupSettings
from bai_sweep.generation import TokenScorer, eos_ids, uniform_numbers
from bai_sweep.ppo._errors import DivergenceError
from bai_sweep.ppo._prompts import PromptBatch
from bai_sweep.ppo._seeds import stream
from bai_sweep.ppo._telemetry import describe_rollout, peak_memory, start_memory, timings
from bai_sweep.ppo.checkpoints import (
    Checkpoint,
    Checkpoints,
    Evidence,
    check_fingerprint,
    fingerprint,
    global_random_state,
    keep_evidence,
    load_global_random_state,
    load_optimizer_state,
    load_trained_weights,
    optimizer_state,
    trained_weights,
)
from bai_sweep.ppo.formulas import row_sums
from bai_sweep.ppo.networks import FrozenPolicy
from bai_sweep.ppo.rewards import Rewards, Scored, completion_texts, hidden_tokens
from bai_sweep.ppo.rollouts import HFEngine, Rollout
from bai_sweep.records import StepTelemetry
from bai_sweep.signals import StopRequested

log = logging.getLogger(__name__)

FIGURES: Final = {
    "loss": "loss/policy_avg",
    "grad_norm": "grad_norm/actor",
    "clip_ratio/region_mean": "policy/clipfrac_avg",
    "clip_ratio/low_mean": "policy/clipfrac_low",
    "clip_ratio/high_mean": "policy/clipfrac_high",
    "cispo_clip_ratio": "policy/clipfrac_high",
}
"""What TRL logs at every optimizer step, and our names for it."""


def optimizer_steps(settings: GroupSettings) -> int:
    """Optimizer steps in one of our steps."""
    return settings.num_iterations * settings.batch_size // settings.minibatch_size


@final
class Steps:
    """The steps of a run. TRL's trainer calls, in this order and in each of them: `rollout`, `reward`, and after
    every optimizer step `learned`, the last of which reports the step.

    Sampling and minibatches draw from the seed and the number of the step, so that a checkpoint needs no generator.

    Args:
        model: The actor, in evaluation mode.
        tokenizer: Its tokenizer.
        settings: The hyperparameters.
        rewards: What completions are paid.
        batches: The prompts of every step.
        optimizer: The actor's.
        seed: Of sampling and minibatches.
        on_step: Is told of each step.
        folder: The run's, for checkpoints and for the batch of a divergence; None: nothing is written.
    """

    def __init__(  # noqa: PLR0917 - its parts, each of another type
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        settings: GroupSettings,
        rewards: Rewards,
        batches: Sequence[PromptBatch],
        optimizer: torch.optim.Optimizer,
        *,
        seed: int,
        on_step: Callable[[StepTelemetry], None],
        folder: Path | None,
    ) -> None:
        self.model, self.tokenizer, self.settings, self.rewards = model, tokenizer, settings, rewards
        self.batches, self.optimizer, self.seed, self.on_step = batches, optimizer, seed, on_step
        self.policy, self.reference = TokenScorer(model), FrozenPolicy(copy.deepcopy(model))
        ends = eos_ids(model, tokenizer)
        self.hidden = hidden_tokens(tokenizer, ends)
        self.engine = HFEngine(
            model,
            max_new_tokens=settings.max_new_tokens,
            temperature=settings.temperature,
            eos_token_ids=ends,
            precision=settings.precision,
        )
        self.done: list[StepTelemetry] = []
        self._logged: list[Mapping[str, float]] = []
        self._random: dict[str, Any] | None = None
        self.folder, self._checkpoints = folder, None
        if folder is not None and settings.checkpoint_steps:
            self._checkpoints = Checkpoints.of(folder, settings.checkpoint_limit)
            self._fingerprint = fingerprint(self.reference, settings, rewards.weights, batches, seed)

    @property
    def step(self) -> int:
        """The one that is being worked on, from 1."""
        return len(self.done) + 1

    @property
    def batch(self) -> PromptBatch:
        """Its prompts."""
        return self.batches[self.step - 1]

    def restore(self) -> None:
        """Goes back to the newest checkpoint, if there is one, and reports its steps as they were.

        Raises:
            UserError: It is of other settings, prompts or models; the differences are shown.
        """
        newest = None if self._checkpoints is None else self._checkpoints.newest()
        if self._checkpoints is None or newest is None:
            return
        saved = self._checkpoints.read(newest)
        check_fingerprint(
            saved.state["fingerprint"], self._fingerprint, done=saved.step, folder=self._checkpoints.folder
        )
        load_trained_weights(self.model, saved.tensors["actor"])
        load_optimizer_state(self.model, self.optimizer, saved.tensors["optimizer"])
        self._random = saved.state["global_random"]
        self.done = [StepTelemetry(**record) for record in saved.state["telemetry"]]
        log.info("%s goes on after step %d of %d", self.settings.kind, saved.step, len(self.batches))
        for record in self.done:
            self.on_step(record)

    def rollout(self) -> list[list[int]]:
        """Samples the step's completions."""
        if self._random is not None:  # only now, as the trainer has seeded everything while it was made
            load_global_random_state(self._random)
            self._random = None
        start_memory(self.model.device)
        self._clock = [time.perf_counter()]
        sampling = stream(self.seed, f"sampling/{self.step}")
        uniform = uniform_numbers(self.settings.max_new_tokens, self.settings.batch_size, sampling)
        samples = self.engine.generate(self.batch.token_ids, uniform)
        self._sampled, self._completions = Rollout.of(self.batch.token_ids, samples), samples.completions()
        self._clock.append(time.perf_counter())
        return self._completions

    def reward(self, completion_ids: Sequence[Sequence[int]], **_: object) -> list[float | None]:
        """Scores the completions, and measures what is known before anything is learned from them.

        TRL leaves one to which no reward applies (None) out of its group's mean. This has the signature of TRL's
        reward functions, and is the only one that TRL is given.
        """
        if completion_ids != self._completions:
            raise RuntimeError("TRL asks for the rewards of other completions than those it was given")
        scored = self._scored()
        self._described = {
            **scored.logged,  # first: a figure of the trainer's own keeps its name
            **self._describe(torch.tensor(scored.total, device=self.model.device)),
            **scored.metrics(),
        }
        # Next, TRL shuffles the batch with torch's global generator.
        torch.manual_seed(stream(self.seed, f"minibatches/{self.step}").initial_seed())
        self._clock.append(time.perf_counter())
        return [score if applies else None for score, applies in zip(scored.total, scored.applies, strict=True)]

    def _scored(self) -> Scored:
        texts = completion_texts(self.tokenizer, self._completions, self.hidden)
        ended: list[bool] = self._sampled.ended.tolist()
        self.rewards.trainer_state.global_step = self.step - 1
        given = self.rewards.give(self.batch, texts, self._completions, ended, step=self.step)
        self._given = given.rewards
        return self.rewards.combine([given], step=self.step)

    @torch.no_grad()
    def _describe(self, scores: Float[Tensor, " rows"]) -> dict[str, float]:
        """What PPO tells of a batch, as far as it needs no critic."""
        rollout, settings = self._sampled, self.settings
        columns = [torch.zeros_like(rollout.sampled_logprobs) for _ in range(3)]
        with torch.autocast(self.model.device.type, torch.bfloat16, enabled=settings.precision == "bf16"):
            for rows in torch.split(torch.arange(len(scores), device=scores.device), settings.minibatch_size):
                tokens, places = rollout.response_tokens(rows)
                policy = self.policy.score(*tokens, temperature=settings.temperature, entropy=True)
                said = (policy.logprobs, self.reference(tokens, settings.temperature), policy.entropies)
                for column, flat in zip(columns, said, strict=True):
                    column[places] = flat
        logprobs, reference, entropies = columns
        return describe_rollout(
            rollout,
            logprobs=logprobs,
            reference=reference,
            entropies=entropies,
            scores=scores,
            non_score_rewards=self._penalty(logprobs - reference),
        )

    def _penalty(self, log_ratios: Float[Tensor, "rows tokens"]) -> Float[Tensor, " rows"]:
        """What TRL takes from the rewards: of RLOO the KL (k1) of the tokens it learns from; GRPO's is in the loss."""
        coef = self.settings.kl_coef if self.settings.kind == "rloo" else 0.0
        return -coef * row_sums(log_ratios, self._learned_from())

    def _learned_from(self) -> Bool[Tensor, "rows tokens"]:
        rollout = self._sampled
        return rollout.mask & rollout.ended[:, None] if self.settings.mask_truncated else rollout.mask

    def check_gradients(self) -> None:
        """Called before each optimizer step, so that what is not finite spoils no weights.

        Raises:
            DivergenceError: A gradient is not finite; the batch is kept in the folder.
        """
        gradients = (p.grad for p in self.model.parameters() if p.grad is not None)
        if not all(bool(gradient.isfinite().all()) for gradient in gradients):
            raise self._divergence("a gradient is not")

    def _divergence(self, what: str) -> DivergenceError:
        reason = (
            f"{self.settings.kind}'s losses and gradients stay finite; at step {self.step}: {what}; lower "
            "rl.actor_learning_rate, or use rl.precision=fp32"
        )
        kept = None
        if self.folder is not None:
            made = Evidence(self.step, self.batch, self._sampled, self._completions, self._given)
            texts = completion_texts(self.tokenizer, self._completions, self.hidden)
            kept = keep_evidence(made, texts, reason, self.folder)
        return DivergenceError(reason if kept is None else f"{reason}; the batch is in {kept}")

    def learned(self, logged: Mapping[str, float]) -> None:
        """Takes in what TRL logs of an optimizer step; after the last one keeps and reports the step.

        Raises:
            DivergenceError: A loss is not finite, or a norm (the gradients, finite but huge, were then clipped to 0).
            StopRequested: Who is told of the step wants to stop; the step is kept.
        """
        bad = [f"{FIGURES[name]} = {logged[name]}" for name in FIGURES if not math.isfinite(logged.get(name, 0.0))]
        if bad:
            raise self._divergence(", ".join(bad))
        self._logged.append(logged)
        if len(self._logged) < optimizer_steps(self.settings):
            return
        self._clock.append(time.perf_counter())
        step, settings = self.step, self.settings
        metrics = {
            **self._described,
            **_means(self._logged),
            "lr": logged["learning_rate"],
            "objective/kl_coef": settings.kl_coef,
            "episode": float(step * settings.batch_size),
            **timings(
                self._clock,
                sampled=int(self._sampled.lengths.sum()),
                trained=int(self._learned_from().sum()) * settings.num_iterations,
            ),
            **peak_memory(self.model.device),
        }
        self._logged.clear()
        self.done.append(StepTelemetry(step, metrics))
        due = settings.checkpoint_steps and (step % settings.checkpoint_steps == 0 or step == len(self.batches))
        if due:
            self._keep(step)
        try:
            self.on_step(self.done[-1])
        except StopRequested:
            if not due:
                self._keep(step)
            raise

    def _keep(self, step: int) -> None:
        """Writes a checkpoint, if the run has a folder and wants any."""
        if self._checkpoints is None:
            return
        tensors = {"actor": trained_weights(self.model), "optimizer": optimizer_state(self.model, self.optimizer)}
        state = {
            "fingerprint": self._fingerprint,
            "global_random": global_random_state(),
            "telemetry": [dataclasses.asdict(record) for record in self.done],
        }
        self._checkpoints.save(Checkpoint(step, state, tensors))


def _means(logged: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """The means over a step's minibatches, under our names."""
    return {
        ours: math.fsum(figures[theirs] for figures in logged) / len(logged)
        for theirs, ours in FIGURES.items()
        if theirs in logged[0]
    }
