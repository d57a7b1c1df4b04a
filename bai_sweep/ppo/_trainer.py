"""PPO for use from Python, in the manner of TRL's trainers."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, final

from transformers import PreTrainedModel, PreTrainedTokenizerBase, TrainerCallback

from bai_sweep.devices import device_of
from bai_sweep.generation import eos_ids
from bai_sweep.ppo._check import check_engine
from bai_sweep.ppo._config import PPOConfig
from bai_sweep.ppo._events import Events
from bai_sweep.ppo._parts import (
    causal,
    check_actor,
    check_frozen,
    check_kinds,
    check_reward_models,
    check_vocabulary,
    critic_of,
    rows_of,
    tokenizer_of,
)
from bai_sweep.ppo._prompts import PromptBatch, prompt_batches
from bai_sweep.ppo._training import Training
from bai_sweep.ppo.networks import make_networks, opened, shares_weights
from bai_sweep.ppo.processes import Processes, check_launch
from bai_sweep.ppo.rewards import ModelReward, RewardFunctions, Tokenizers, make_rewards
from bai_sweep.ppo.rollouts import HFEngine, RolloutEngine
from bai_sweep.records import StepTelemetry, UserError

if TYPE_CHECKING:
    from datasets import Dataset
    from peft import PeftConfig, PeftModel


@final
class PPOTrainer:
    """Trains a causal language model with PPO; docs/ppo.md has an example.

    The same seed on the same machine with the same number of threads gives the same telemetry, but for times and
    memory. Nothing is drawn from the global random states; checkpoints keep them.

    Args:
        model: The actor: a model or PEFT model, which is trained in place; or a folder, hub id `owner/name@revision`
            or `testbed://distilled`, loaded in fp32. No code of a checkpoint is run.
        reward_funcs: What pays: a callable with TRL's signature (sync or async), a sequence-classification model with
            one output, where one is, a list of these, or a mapping of names to them.
        args: The settings; None: PPOConfig().
        train_dataset: A datasets.Dataset, or rows, with a column `prompt` of text or conversations. The other columns
            reach the reward functions.
        processing_class: The tokenizer; None: the one beside the model.
        reward_weights: One for each reward, in order or by name; None: 1 for all. The score is their weighted sum.
        reward_processing_classes: Tokenizers of reward models, one for each reward; None: the one beside the model.
        value_model: The critic to start from, of the kind of a reward model; None: `args.critic`, and where that is
            None too, a copy of the actor under a new head. One that shares weights with another model is copied.
        ref_model: The policy that the KL is measured from; None: the actor as it is at first.
        peft_config: Trains an adapter in place of the actor's weights; None: `args.lora`.
        probes: Further policies to which the KL is reported, by name: models, or where they are. One that shares
            weights with the actor, as the actor itself, is copied.
        callbacks: transformers.TrainerCallback objects or classes.

    Raises:
        UserError: Some part breaks a rule; the message says which, the value, and what to do.
    """

    def __init__(
        self,
        model: PreTrainedModel | PeftModel | str,
        reward_funcs: RewardFunctions,
        args: PPOConfig | None = None,
        train_dataset: Dataset | Sequence[Mapping[str, Any]] | None = None,
        processing_class: PreTrainedTokenizerBase | None = None,
        *,
        reward_weights: Sequence[float] | Mapping[str, float] | None = None,
        reward_processing_classes: Tokenizers = None,
        value_model: PreTrainedModel | str | None = None,
        ref_model: PreTrainedModel | str | None = None,
        peft_config: PeftConfig | None = None,
        probes: Mapping[str, PreTrainedModel | str] | None = None,
        callbacks: Sequence[TrainerCallback | type[TrainerCallback]] | None = None,
    ) -> None:
        self.args = args = PPOConfig() if args is None else args
        check_kinds(args=args, peft_config=peft_config, probes=probes, callbacks=callbacks)
        check_actor(model)
        processes = _processes(args)
        device = processes.device(device_of(args.device))
        check_engine(args, device)
        self.processing_class = tokenizer_of(model, processing_class)
        batches = self._batches(train_dataset)
        rewards = make_rewards(reward_funcs, device, weights=reward_weights, tokenizers=reward_processing_classes)
        rewards.check(batches[0].columns)
        check_reward_models(rewards, batches)
        model = causal(model, "model") if isinstance(model, str) else model
        actor, _ = opened(model)
        check_vocabulary(actor, self.processing_class)
        paying = [source.model for source in rewards.sources.values() if isinstance(source, ModelReward)]
        reference = _reference(ref_model, actor)
        frozen = {name: causal(p, f"probes[{name!r}]", actor.dtype) for name, p in (probes or {}).items()}
        named = {f"probes[{name!r}]": probe for name, probe in frozen.items()}
        check_frozen(named if reference is None else {"ref_model": reference, **named}, actor)
        others = [actor, *paying, *frozen.values(), *([] if reference is None else [reference])]
        self.networks = make_networks(
            model,
            critic_of(actor, value_model, device, others),
            args,
            device=device,
            longest=max(len(ids) for batch in batches for ids in batch.token_ids) + args.max_new_tokens,
            reference=reference,
            probes=frozen,
            peft_config=peft_config,
            seed=args.seed,
        )
        self._training = Training(
            self.networks,
            self.processing_class,
            args,
            rewards,
            batches,
            self._engine(),
            processes,
            seed=args.seed,
            folder=None if args.output_dir is None else _absolute(args.output_dir),
        )
        self._events = Events(callbacks or (), args, self.model, self.processing_class, rewards.trainer_state)

    @property
    def model(self) -> PreTrainedModel | PeftModel:
        """The actor, with its adapter if there is one."""
        return self.networks.adapter or self.networks.whole

    def train(self, resume_from_checkpoint: bool | str | None = None) -> tuple[StepTelemetry, ...]:
        """Trains to the last step, or until a callback asks to stop.

        Args:
            resume_from_checkpoint: True: go on from the newest checkpoint in `args.output_dir`, if there is one; a
                folder: from the newest of the run whose `output_dir` it is.

        Returns:
            The telemetry of every step.

        Raises:
            UserError: A reward function broke a rule; a checkpoint is of other settings, prompts or models.
            DivergenceError: A reward, loss or gradient is not finite; the batch is kept in `args.output_dir`.
        """
        for _ in self.steps(resume_from_checkpoint):
            pass
        return tuple(self._training.done)

    def steps(self, resume_from_checkpoint: bool | str | None = None) -> Generator[StepTelemetry, None, None]:
        """The same, one step each time it is asked for the next; closing it ends the training."""
        training, events = self._training, self._events
        events.state.max_steps = len(training.batches)
        events.state.is_world_process_zero = events.state.is_local_process_zero = training.processes.first
        try:
            restored = self._restored(resume_from_checkpoint)
            events.begin(restored)
            yield from restored
            begun, steps = len(training.done), training.steps()
            while len(training.done) < len(training.batches) and not self._any(events.control.should_training_stop):
                events.begin_step()
                record = next(steps)
                events.end_step(record)
                if self._any(events.control.should_save):
                    training.keep()
                if training.kept == record.step:
                    events.fire("on_save")
                yield record
            if self.args.checkpoint_steps and len(training.done) > begun and training.kept != len(training.done):
                training.keep()  # a callback, or who takes the steps, asked for the end
                if training.kept == len(training.done):
                    events.fire("on_save")
        finally:
            training.rewards.close()
            training.engine.close()
            self.networks.keep_activations()
        self.networks.collect()
        events.fire("on_train_end")

    def stop(self) -> None:
        """Ends the training that is under way before its next step, in all processes, with a checkpoint if it has any.

        For whoever takes `steps` one by one; it is over once they are at their end.
        """
        self._events.control.should_training_stop = True

    def _restored(self, resume: bool | str | None) -> tuple[StepTelemetry, ...]:
        """The steps of the checkpoint that is gone on from, if that is asked for and nothing is done yet."""
        training = self._training
        if training.done:
            return ()
        folder = _absolute(resume) if isinstance(resume, str) else training.folder if resume else None
        if resume and folder is None:
            raise UserError("resume_from_checkpoint=True goes on in args.output_dir; it is None; name the folder")
        if folder is None or folder != training.folder:
            self._check_unused()
        if folder is None:
            return ()
        restored = training.restore(folder)
        if isinstance(resume, str) and not restored:
            raise UserError(f"resume_from_checkpoint is the output_dir of a run with checkpoints; {resume!r} has none")
        return restored

    def _check_unused(self) -> None:
        """Another run's checkpoints are not mixed with this one's; the first process looks, before any writes."""
        checkpoints, processes = self._training.checkpoints, self._training.processes
        if checkpoints is None:
            return
        there = processes.gather(lambda: checkpoints.steps() if processes.first else [])[0]
        if there:
            raise UserError(
                f"a run that starts anew has an output_dir without checkpoints; {self.args.output_dir} has a run up "
                f"to step {there[-1]}; pass resume_from_checkpoint=True or another output_dir"
            )

    def _any(self, wish: bool) -> bool:
        """Whether a callback of any process wants it: all must do the same."""
        return any(self._training.processes.gather(lambda: wish))

    def save_model(self, output_dir: str | Path) -> None:
        """Writes the model (of an adapter, the adapter alone) as safetensors, and the tokenizer.

        Of several processes all call it, and the first writes.
        """
        self.networks.collect()
        if self._training.processes.first:
            self.model.save_pretrained(str(output_dir))
            self.processing_class.save_pretrained(output_dir)

    def _batches(self, train_dataset: Any) -> list[PromptBatch]:
        args = self.args
        return prompt_batches(
            rows_of(train_dataset),
            self.processing_class,
            column="prompt",
            steps=args.steps,
            batch_size=args.batch_size,
            num_generations=args.num_generations,
            max_prompt_tokens=args.max_prompt_tokens,
            seed=args.seed,
        )

    def _engine(self) -> RolloutEngine:
        actor, args = self.networks.whole, self.args
        ends = eos_ids(actor, self.processing_class)
        if args.engine == "hf":
            return HFEngine(
                actor,
                max_new_tokens=args.max_new_tokens,
                temperature=args.temperature,
                eos_token_ids=ends,
                precision=args.precision,
                static_cache=args.static_cache,
            )
        from accelerate import Accelerator  # type: ignore[import-untyped]

        from bai_sweep.ppo.rollouts._vllm import VLLMEngine

        return VLLMEngine(
            self.networks.adapter or actor,
            self.processing_class,
            Accelerator(),
            args.vllm,
            max_new_tokens=args.max_new_tokens,
            temperature=args.temperature,
            eos_token_ids=ends,
        )


def _absolute(folder: str) -> Path:
    """So that it stays the same one when the working directory changes."""
    return Path(folder).expanduser().absolute()


def _processes(args: PPOConfig) -> Processes:
    processes = Processes.join()
    if processes.count == 1 < args.num_processes:
        raise UserError(
            f"PPOTrainer starts no processes itself; got num_processes={args.num_processes} in one process; start "
            f"your script with `accelerate launch --num_processes {args.num_processes}`"
        )
    processes.check(args)
    if processes.count == 1:  # a launcher of several has read its own file
        check_launch(args)
    return processes


def _reference(ref_model: PreTrainedModel | str | None, actor: PreTrainedModel) -> PreTrainedModel | None:
    if ref_model is None:
        return None
    reference = causal(ref_model, "ref_model", actor.dtype)
    if shares_weights(reference, actor):
        raise UserError(
            "ref_model stays as it is while model learns; these share weights; pass None to measure from the model as "
            "it is at first, or load it a second time"
        )
    return reference
