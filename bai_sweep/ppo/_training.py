"""The PPO loop: sample, score, learn, report, keep."""

from __future__ import annotations

import dataclasses
import logging
import random
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
from bai_sweep.ppo._telemetry import describe, peak_memory, start_memory, timings
from bai_sweep.ppo._update import Updater
from bai_sweep.ppo.checkpoints import (
    Checkpoint,
    Checkpoints,
    Evidence,
    check_fingerprint,
    fingerprint,
    generator_state,
    global_random_state,
    keep_evidence,
    load_generator_state,
    load_global_random_state,
    load_optimizer_state,
    load_trained_weights,
    optimizer_state,
    trained_weights,
)
from bai_sweep.ppo.formulas import KLController
from bai_sweep.ppo.networks import Networks
from bai_sweep.ppo.processes import Processes
from bai_sweep.ppo.rewards import Rewards, Scored, completion_texts
from bai_sweep.ppo.rollouts import Rollout, RolloutEngine
from bai_sweep.records import StepTelemetry

log = logging.getLogger(__name__)


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
        self.hidden = {*ends, *([] if tokenizer.pad_token_id is None else [int(tokenizer.pad_token_id)])}
        self.sampling = _generator(seed, "sampling")
        self.updater = Updater(networks, settings, _generator(seed, "minibatches"), processes)
        self.kl = KLController(settings.kl_coef, settings.kl_target, settings.kl_horizon)
        self.done: list[StepTelemetry] = []
        self.kept: int | None = None  # the step of the newest checkpoint that this object wrote
        self.folder, self.seed = folder, seed
        self._shared_random: dict[str, Any] | None = None

    @cached_property
    def _fingerprint(self) -> dict[str, Any]:
        return fingerprint(self.networks.reference, self.settings, self.rewards.weights, self.batches, self.seed)

    def restore(self, folder: Path | None = None) -> tuple[StepTelemetry, ...]:
        """Goes back to the newest whole checkpoint of a run; to be called before the first step, if at all.

        Args:
            folder: The run's; None: this one's own.

        Returns:
            The steps done, of which who listens shall hear again; none if there is no checkpoint.

        Raises:
            UserError: The checkpoint is of other settings, prompts or models; the differences are shown.
        """
        folder = folder or self.folder
        if folder is None:
            return ()
        checkpoints = Checkpoints.of(folder, self.settings.checkpoint_limit)
        saved = self._newest(checkpoints)
        if saved is None:
            return ()
        check_fingerprint(saved.state["fingerprint"], self._fingerprint, done=saved.step, folder=checkpoints.folder)
        load_trained_weights(self.networks.actor, saved.tensors["actor"])
        load_trained_weights(self.networks.critic, saved.tensors["critic"])
        load_optimizer_state(self.networks.module, self.updater.optimizer, saved.tensors["optimizer"])
        self.kl.load_state_dict(saved.state["kl"])
        load_generator_state(self.sampling, saved.state["sampling"])
        load_generator_state(self.updater.generator, saved.state["minibatches"])
        self._shared_random = dict(enumerate(saved.state["global_random"])).get(self.processes.rank)
        self.done = [StepTelemetry(**record) for record in saved.state["telemetry"]]
        log.info("PPO goes on after step %d of %d, from a checkpoint in %s", saved.step, len(self.batches), folder)
        return tuple(self.done)

    def _newest(self, checkpoints: Checkpoints) -> Checkpoint | None:
        """The first process decides which: the others may see a shared disk later."""
        step = self.processes.gather(lambda: checkpoints.newest() if self.processes.first else None)[0]
        return None if step is None else checkpoints.read(step)

    def steps(self) -> Iterator[StepTelemetry]:
        """Trains, one step each time it is asked for the next, from the first that is not done to the last.

        Raises:
            DivergenceError: A reward, loss or gradient is not finite; the batch is kept in the folder.
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
        if self.folder is None or self.kept == step:
            return
        self.kept = step
        tensors = {
            "actor": trained_weights(self.networks.actor),
            "critic": trained_weights(self.networks.critic),
            "optimizer": optimizer_state(self.networks.module, self.updater.optimizer),
        }
        state = {
            "fingerprint": self._fingerprint,
            "kl": self.kl.state_dict(),
            "sampling": generator_state(self.sampling),
            "minibatches": generator_state(self.updater.generator),
            "global_random": self.processes.gather(global_random_state),
            "telemetry": [dataclasses.asdict(record) for record in self.done],
        }
        if self.processes.first:
            Checkpoints.of(self.folder, self.settings.checkpoint_limit).save(Checkpoint(step, state, tensors))

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

    def _keep_evidence(self, evidence: Evidence, reason: str) -> Path | None:
        if self.folder is None or not self.processes.first:
            return None
        texts = completion_texts(self.tokenizer, evidence.completions, self.hidden)
        return keep_evidence(evidence, texts, reason, self.folder)

    def _experience(self, rollout: Rollout, scored: Scored) -> Experience:
        scores = torch.tensor(scored.total, device=rollout.input_ids.device)
        judgement = judge(self.networks, rollout, self.settings, self.processes)
        return experience_of(rollout, judgement, scores, self.settings, self.kl.coef)


def _generator(seed: int, purpose: str) -> torch.Generator:
    """A random stream of its own for each purpose, so that changing one leaves the others as they were."""
    return torch.Generator().manual_seed(random.Random(f"{seed}/{purpose}").getrandbits(63))
