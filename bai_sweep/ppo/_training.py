"""The PPO loop: sample, score, learn, report, keep."""

from __future__ import annotations

import dataclasses
import logging
import time
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, final

import torch
from transformers import PreTrainedTokenizerBase

from bai_sweep.config import PPOSettings
from bai_sweep.generation import Samples, eos_ids, uniform_numbers
from bai_sweep.ppo._errors import DivergenceError
from bai_sweep.ppo._experience import Experience, experience_of, judge
from bai_sweep.ppo._prompts import PromptBatch
from bai_sweep.ppo._seeds import stream
from bai_sweep.ppo._telemetry import describe, peak_memory, start_memory, timings
from bai_sweep.ppo._update import Updater
from bai_sweep.ppo.checkpoints import (
    Checkpoint,
    Checkpoints,
    Evidence,
    by_name,
    check_fingerprint,
    fingerprint,
    generator_state,
    global_random_state,
    keep_evidence,
    load_generator_state,
    load_global_random_state,
    load_trained_weights,
    trained_weights,
)
from bai_sweep.ppo.formulas import KLController
from bai_sweep.ppo.networks import Networks
from bai_sweep.ppo.processes import Processes
from bai_sweep.ppo.rewards import Rewards, Scored, completion_texts, hidden_tokens
from bai_sweep.ppo.rollouts import Rollout, RolloutEngine
from bai_sweep.records import StepTelemetry, UserError

log = logging.getLogger(__name__)
SAMPLER_DIFFERENCE = 0.01
"""Nats. Rounding makes about 1e-6; a model that left padding changes was measured at 0.14."""


@final
class Training:
    """What lasts from step to step: networks, optimizer, KL controller, random generators, the steps done.

    With a folder and `checkpoint_steps` above 0 all of it is kept every so many steps and after the last. Made anew
    with the same arguments and restored, a training goes on as if nothing had happened: on a CPU, bit for bit. The
    networks must again be those of before the first step, as the reference is not kept.

    Args:
        networks: Actor, critic, reference.
        tokenizer: The actor's.
        settings: PPO's hyperparameters.
        rewards: What completions are paid.
        batches: The prompts of every step.
        engine: Samples from the actor.
        processes: Those that share the run.
        seed: Of sampling and minibatches.
        folder: The run's, for `checkpoints/` and for the batch of a divergence; None: nothing is written.
    """

    def __init__(  # noqa: PLR0917 - its parts, each of another type
        self,
        networks: Networks,
        tokenizer: PreTrainedTokenizerBase,
        settings: PPOSettings,
        rewards: Rewards,
        batches: Sequence[PromptBatch],
        engine: RolloutEngine,
        processes: Processes,
        *,
        seed: int,
        folder: Path | None = None,
    ) -> None:
        self.networks, self.tokenizer, self.settings, self.rewards = networks, tokenizer, settings, rewards
        self.batches, self.engine, self.processes = batches, engine, processes
        ends = eos_ids(networks.actor, tokenizer)
        self.hidden = hidden_tokens(tokenizer, ends)
        self.sampling = stream(seed, "sampling")
        self.updater = Updater(networks, settings, stream(seed, "minibatches"), processes)
        self.kl = KLController(settings.kl_coef, settings.kl_target, settings.kl_horizon)
        self.done: list[StepTelemetry] = []
        self.kept: int | None = None  # the step of the newest checkpoint that this object wrote
        self.folder, self.seed = folder, seed
        self.checkpoints = None if folder is None else Checkpoints.of(folder, settings.checkpoint_limit)
        self._shared_random: dict[str, Any] | None = None
        if folder is not None:
            _ = self._fingerprint  # now, so that what cannot be told of the prompts is known before the first step

    @cached_property
    def _fingerprint(self) -> dict[str, Any]:
        networks = self.networks
        return fingerprint(
            networks.reference,
            self.settings,
            self.rewards.weights,
            self.batches,
            self.seed,
            adapter=None if networks.adapter is None else networks.adapter.active_peft_config,
            partly_frozen={
                "the critic's frozen weights": networks.critic,
                **{f"probe {name}": policy for name, policy in networks.probes.items()},
            },
        )

    def restore(self, folder: Path | None = None) -> tuple[StepTelemetry, ...]:
        """Goes back to the newest whole checkpoint of a run; to be called before the first step, if at all.

        Args:
            folder: The run's; None: this one's own.

        Returns:
            The steps done, of which who listens shall hear again; none if there is no checkpoint.

        Raises:
            UserError: The checkpoint is of other settings, prompts or models; the differences are shown.
        """
        checkpoints = self.checkpoints
        if folder is not None and folder != self.folder:
            checkpoints = Checkpoints.of(folder, self.settings.checkpoint_limit)
        if checkpoints is None:
            return ()
        saved = self._newest(checkpoints)
        if saved is None:
            return ()
        check_fingerprint(saved.state["fingerprint"], self._fingerprint, done=saved.step, folder=checkpoints.folder)
        load_trained_weights(self.networks.actor, saved.tensors["actor"])
        load_trained_weights(self.networks.critic, saved.tensors["critic"])
        self.updater.load_states(saved.tensors["optimizer"])
        self.kl.load_state_dict(saved.state["kl"])
        load_generator_state(self.sampling, saved.state["sampling"])
        load_generator_state(self.updater.generator, saved.state["minibatches"])
        self._shared_random = dict(enumerate(saved.state["global_random"])).get(self.processes.rank)
        self.done = [StepTelemetry(**record) for record in saved.state["telemetry"]]
        log.info("PPO goes on after step %d of %d, from %s", saved.step, len(self.batches), checkpoints.folder)
        return tuple(self.done)

    def _newest(self, checkpoints: Checkpoints) -> Checkpoint | None:
        """The first process decides which: the others may see a shared disk later."""
        step = self.processes.gather(lambda: checkpoints.newest() if self.processes.first else None)[0]
        return None if step is None else checkpoints.read(step)

    def steps(self) -> Iterator[StepTelemetry]:
        """Trains, one step each time it is asked for the next, from the first that is not done to the last.

        Raises:
            DivergenceError: A reward, loss or gradient is not finite; the batch is kept in the folder.
            UserError: The engine hf does not sample from the actor.
        """
        if self._shared_random is not None:  # only now, as whoever heard of the steps done may have drawn from it
            load_global_random_state(self._shared_random)
        every, last = self.settings.checkpoint_steps, len(self.batches)
        for step in range(len(self.done) + 1, last + 1):
            self.done.append(StepTelemetry(step, self._step(step, self.batches[step - 1])))
            if every and (step % every == 0 or step == last):
                self.keep()
            yield self.done[-1]

    def keep(self) -> None:
        """Writes a checkpoint of the steps done, if there is a folder.

        Every process takes part, as each has random numbers and may have parts of weights.
        """
        step = len(self.done)
        checkpoints = self.checkpoints
        if checkpoints is None or self.kept == step:
            return
        tensors = {
            "actor": trained_weights(self.networks.actor),
            "critic": trained_weights(self.networks.critic),
            "optimizer": by_name(self.networks.module, self.updater.states()),
        }
        state = {
            "fingerprint": self._fingerprint,
            "kl": self.kl.state_dict(),
            "sampling": generator_state(self.sampling),
            "minibatches": generator_state(self.updater.generator),
            "global_random": self.processes.gather(global_random_state),
            "telemetry": [dataclasses.asdict(record) for record in self.done],
        }
        made = Checkpoint(step, state, tensors)
        if any(self.processes.gather(lambda: self.processes.first and checkpoints.save(made))):
            self.kept = step

    def _step(self, step: int, batch: PromptBatch) -> dict[str, float]:
        """One batch; where it leaves the finite numbers, it is kept."""
        evidence = Evidence(step, batch)
        try:
            return self._learn(evidence)
        except DivergenceError as error:
            reason = str(error)
            # All processes raise it, and none may go before the first has written.
            kept = self.processes.gather(lambda: self._keep_evidence(evidence, reason))[0]
            if kept is None:
                raise
            raise DivergenceError(f"{reason}; the batch is in {kept}") from error

    def _learn(self, evidence: Evidence) -> dict[str, float]:
        """Rollout, scoring, training; returns the step's metrics."""
        step, device = evidence.step, self.networks.actor.device
        start_memory(device)
        clock = [time.perf_counter()]
        rollout = self._rollout(evidence)
        clock.append(time.perf_counter())
        scored = self._score(evidence, rollout)
        experience = evidence.experience = self._experience(rollout, scored)
        if step == 1:
            self._check_sampler(experience)
        if not experience.learned.any():
            log.warning("step %d: every completion was cut off; nothing is learned (mask_truncated)", step)
        clock.append(time.perf_counter())
        learned = self.updater.update(experience, step=step)
        clock.append(time.perf_counter())
        metrics = {
            **scored.logged,  # first: a figure of the trainer's own keeps its name
            **describe(experience),
            **learned,
            **scored.metrics(),
            "objective/kl_coef": self.kl.coef,
            "episode": float(step * self.settings.batch_size),
            **timings(
                clock,
                sampled=int(rollout.lengths.sum()),
                trained=int(experience.learned.sum()) * self.settings.ppo_epochs,
            ),
            **peak_memory(device),
        }
        if step > self.settings.critic_warmup_steps:  # before, the KL is 0 because the actor is frozen
            self.kl.update(metrics["objective/kl"], self.settings.batch_size)
        return metrics

    def _rollout(self, evidence: Evidence) -> Rollout:
        prompts = evidence.batch.token_ids
        share = self.processes.share_of(len(prompts))
        uniform = uniform_numbers(self.settings.max_new_tokens, len(prompts), self.sampling)
        self.networks.collect()
        self.processes.gather(self.engine.sync)
        parts = self.processes.gather(lambda: self.engine.generate(prompts[share], uniform[:, share]))
        samples = Samples.joined(parts)
        evidence.completions, evidence.rollout = samples.completions(), Rollout.of(prompts, samples)
        return evidence.rollout

    def _score(self, evidence: Evidence, rollout: Rollout) -> Scored:
        step, completions = evidence.step, evidence.completions
        share = self.processes.share_of(len(completions))
        texts = completion_texts(self.tokenizer, completions[share], self.hidden)
        ended: list[bool] = rollout.ended[share].tolist()
        parts = self.processes.gather(
            lambda: self.rewards.give(evidence.batch[share], texts, completions[share], ended, step=step)
        )
        evidence.rewards = {n: [r for part in parts for r in part.rewards[n]] for n in parts[0].rewards}
        return self.rewards.combine(parts, step=step)

    def _check_sampler(self, experience: Experience) -> None:
        """Whether the engine hf samples from the actor: in fp32, it and the trainer differ by rounding only."""
        dtypes = {parameter.dtype for parameter in self.networks.actor.parameters()}
        if self.settings.engine != "hf" or self.settings.precision != "fp32" or dtypes != {torch.float32}:
            return
        rollout = experience.rollout
        difference = (rollout.sampled_logprobs - experience.judgement.logprobs)[rollout.mask].abs().mean().item()
        if difference > SAMPLER_DIFFERENCE:
            raise UserError(
                "rl.engine=hf samples from the actor itself: in fp32, log-probabilities of sampler and trainer differ "
                f"by less than {SAMPLER_DIFFERENCE} on average; those of {type(self.networks.whole).__name__} differ "
                f"by {difference:.4f}: its layers see left padding or the cache; use rl.engine=vllm or another model"
            )

    def _keep_evidence(self, evidence: Evidence, reason: str) -> Path | None:
        if self.folder is None or not self.processes.first:
            return None
        texts = completion_texts(self.tokenizer, evidence.completions, self.hidden)
        return keep_evidence(evidence, texts, reason, self.folder)

    def _experience(self, rollout: Rollout, scored: Scored) -> Experience:
        scores = torch.tensor(scored.total, dtype=rollout.sampled_logprobs.dtype, device=rollout.input_ids.device)
        judgement = judge(self.networks, rollout, self.settings, self.processes)
        return experience_of(rollout, judgement, scores, self.settings, self.kl.coef)
