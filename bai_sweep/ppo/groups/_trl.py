"""GRPO and RLOO: TRL's trainers, with our rollouts, our rewards and the telemetry of PPO.

TRL does what makes the algorithm: advantages, minibatches, loss, optimizer steps. The rest is ours and as in PPO:
prompts and rollouts, which take the place of two of its methods; rewards, which it gets from one function; and what is
told of each step. TRL's own `kl` and `entropy` are means over tokens, taken while the policy changes, and its
reference is whatever checkpoint `config._name_or_path` names: for a merged actor, another model.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, final

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase, TrainerCallback

from bai_sweep.config import GroupSettings, RewardConfig
from bai_sweep.ppo._parts import check_reward_models, check_vocabulary, tokenizer_of
from bai_sweep.ppo._prompts import prompt_batches, read_prompts
from bai_sweep.ppo.checkpoints import global_random_state, load_global_random_state
from bai_sweep.ppo.formulas import learning_rate_factor
from bai_sweep.ppo.groups._steps import Steps, optimizer_steps
from bai_sweep.ppo.networks import SHORT, attention, check_length, check_sampled, keep_activations, recompute_layers
from bai_sweep.ppo.rewards import configured_rewards
from bai_sweep.records import StepTelemetry, UserError


def train_with_trl(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    settings: GroupSettings,
    reward: RewardConfig,
    *,
    seed: int,
    device: torch.device,
    on_step: Callable[[StepTelemetry], None],
    folder: Path | None = None,
) -> tuple[StepTelemetry, ...]:
    """Trains `model` in place with TRL's GRPOTrainer or RLOOTrainer.

    The same seed on the same machine with the same number of threads gives the same telemetry, but for times and
    memory. Global random state is left as it was.

    Args:
        model: The actor; moved to `device` and left there, in evaluation mode.
        tokenizer: Its tokenizer, with an EOS token and, for conversations, a chat template.
        settings: The hyperparameters of both.
        reward: Prompts and reward functions.
        seed: Seed of prompts, sampling and minibatches.
        device: Where to train: the CPU, or the one GPU that torch sees.
        on_step: As of the stage's `train`.
        folder: For checkpoints, from the newest of which a run goes on; None: there are none.

    Returns:
        The telemetry of every step.

    Raises:
        UserError: Prompts, tokenizer, device, rewards or a checkpoint break a rule (see their modules).
        DivergenceError: A gradient is not finite.
        StopRequested: `on_step` raised it.
    """
    check_vocabulary(model, tokenizer_of(model, tokenizer))
    batches = prompt_batches(
        read_prompts(reward.prompts, seed=seed, needed=settings.steps * settings.batch_size),
        tokenizer,
        column=reward.prompts.column,
        steps=settings.steps,
        batch_size=settings.batch_size,
        num_generations=settings.num_generations,
        max_prompt_tokens=settings.max_prompt_tokens,
        seed=seed,
    )
    longest = max(len(ids) for batch in batches for ids in batch.token_ids) + settings.max_new_tokens
    check_length(model, longest)
    check_sampled(model)
    model.to(device).eval().requires_grad_(True)  # type: ignore[arg-type]  # typed for tensors only
    with closing(configured_rewards(reward, device)) as rewards:
        rewards.check(batches[0].columns)
        check_reward_models(rewards, batches)
        optimizer = _optimizer(model, settings)
        steps = Steps(
            model, tokenizer, settings, rewards, batches, optimizer, seed=seed, on_step=on_step, folder=folder
        )
        steps.restore()
        if len(steps.done) < len(batches):
            with _as_it_was(model), _attention(steps, longest), TemporaryDirectory(prefix="trl-") as empty:
                _trainer(steps, device, empty).train()
    return tuple(steps.done)


def _optimizer(model: PreTrainedModel, settings: GroupSettings) -> torch.optim.AdamW:
    return torch.optim.AdamW(
        model.parameters(),
        lr=settings.actor_learning_rate,
        betas=settings.adam_betas,
        weight_decay=settings.weight_decay,
        fused=True,
    )


@contextmanager
def _as_it_was(model: PreTrainedModel) -> Iterator[None]:
    """Afterwards the model is as before but for its weights, and so is the process."""
    from accelerate.state import AcceleratorState  # type: ignore[import-untyped]

    shared = global_random_state()  # Trainer seeds it
    try:
        with warnings.catch_warnings():
            # TRL 1.16 still calls by its old name what transformers 5.20 renamed.
            warnings.filterwarnings("ignore", "`(is_)?gradient_checkpointing` is deprecated", FutureWarning)
            yield
    finally:
        load_global_random_state(shared)
        # Accelerate remembers its precision for every Accelerator that this process will make.
        AcceleratorState._reset_state(reset_partial_state=True)
        keep_activations(model)
        model.zero_grad(set_to_none=True)


@contextmanager
def _attention(steps: Steps, longest: int) -> Iterator[None]:
    """The attention that is faster for short rows on a CPU, as in PPO."""
    with ExitStack() as stack:
        if steps.model.device.type == "cpu" and longest <= SHORT:
            for model in (steps.model, steps.reference.model):
                stack.enter_context(attention(model.config, "eager"))
        yield


def _twin(model: PreTrainedModel) -> PreTrainedModel:
    """Another object around the same weights.

    TRL and accelerate put methods of their own onto the object that they train, and change its configuration; none of
    that may outlast the training. Its layers are those of the model and stay in evaluation mode: in training mode, old
    and new policy would differ by dropout (TRL's `disable_dropout` leaves out the dropout of attention weights).
    """
    twin = copy.copy(model)
    twin.config, twin.generation_config = copy.deepcopy((model.config, model.generation_config))
    twin.training = True  # TRL asks for it, to know that it trains
    twin.train = lambda mode=True: twin  # type: ignore[method-assign]
    return twin


@final
class _Report(TrainerCallback):
    """Tells the steps what the trainer does."""

    def __init__(self, steps: Steps) -> None:
        self.steps = steps

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **_: object) -> None:
        """Before a step that could spoil the weights. (`Trainer` says the norm only after it.)"""
        self.steps.check_gradients()

    def on_log(self, args: Any, state: Any, control: Any, **more: Any) -> None:
        """After each optimizer step, and once with a summary of all."""
        if "grad_norm" in more["logs"]:
            self.steps.learned(dict(more["logs"]))


def _trainer(steps: Steps, device: torch.device, folder: str) -> Any:
    """TRL's trainer for the steps that are left."""
    from datasets import Dataset
    from transformers import PrinterCallback
    from trl.trainer.utils import add_fused_lm_head

    settings, done = steps.settings, len(steps.done)
    arguments = _arguments(settings, settings.steps - done, device, folder)
    # The prompts stay with us: a table would fill up the keys that messages lack.
    prompts = [""] * ((settings.steps - done) * settings.batch_size // settings.num_generations)
    per_step = optimizer_steps(settings)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        steps.optimizer, lambda n: learning_rate_factor(settings, done + n // per_step + 1, settings.steps)
    )
    if settings.gradient_checkpointing:
        recompute_layers(steps.model)
    trainer = _trainer_class(steps)(
        model=_twin(steps.model),
        reward_funcs=steps.reward,
        args=arguments,
        train_dataset=Dataset.from_dict({"prompt": prompts}),
        processing_class=copy.deepcopy(steps.tokenizer),  # TRL sets a padding token where there is none
        callbacks=[_Report(steps)],
        optimizers=(steps.optimizer, schedule),
    )
    trainer.remove_callback(PrinterCallback)
    if settings.kl_coef:
        trainer.beta, trainer.ref_model = settings.kl_coef, steps.reference.model
        add_fused_lm_head(trainer.ref_model, temperature=settings.temperature)
    return trainer


def _trainer_class(steps: Steps) -> Any:
    """TRL's trainer, with what makes completions replaced."""
    from trl import GRPOTrainer, RLOOTrainer  # type: ignore[attr-defined]

    grpo = steps.settings.kind == "grpo"
    base: Any = GRPOTrainer if grpo else RLOOTrainer

    class Trainer(base):  # type: ignore[misc]
        def _tokenize_prompts(self, prompts: list[str]) -> tuple[Any, None, dict[str, Any]]:
            return [list(ids) for ids in steps.batch.token_ids], None, {}

        def _generate_single_turn(self, *_: object) -> Any:
            completions = steps.rollout()
            return (completions, None) if grpo else completions

        def _send_telemetry(self) -> None:
            """Whether and what somebody trains is theirs to tell."""

    return Trainer


def _arguments(settings: GroupSettings, steps: int, device: torch.device, folder: str) -> Any:
    """TRL's arguments for so many of our steps.

    TRL samples `generation_batch_size` completions, `num_generations` in a row for each row of the dataset, shuffles
    them, and makes an optimizer step of each `per_device_train_batch_size` of them; then the same again, in the same
    order, until it has been through them `num_iterations` times. That is one of our steps: `max_steps`, which counts
    optimizer steps, is as many times as large.

    Raises:
        UserError: TRL would train on another device, or on several.
    """
    from trl import GRPOConfig, RLOOConfig  # type: ignore[attr-defined]

    shared: dict[str, Any] = {
        "generation_batch_size": settings.batch_size,
        "num_generations": settings.num_generations,
        "per_device_train_batch_size": settings.minibatch_size,
        "gradient_accumulation_steps": 1,
        "num_iterations": settings.num_iterations,
        "max_steps": steps * optimizer_steps(settings),
        "shuffle_dataset": False,
        "max_completion_length": settings.max_new_tokens,
        "temperature": settings.temperature,
        "mask_truncated_completions": settings.mask_truncated,
        "beta": 0.0,  # no reference by name: `_trainer` hands over ours
        "epsilon": settings.clip_range_low,
        "epsilon_high": settings.clip_range_high,
        "max_grad_norm": settings.max_grad_norm,
        "bf16": settings.precision == "bf16",
        "gradient_checkpointing": False,  # ours works in evaluation mode
        "use_cpu": device.type == "cpu",
        "output_dir": folder,
        "save_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
        "logging_steps": 1,
        "logging_nan_inf_filter": False,
        "dataloader_pin_memory": False,
    }
    arguments = RLOOConfig(**shared) if settings.kind == "rloo" else GRPOConfig(**(shared | _grpo(settings)))
    if arguments.device.type != device.type or (device.index or 0) != (arguments.device.index or 0):
        raise UserError(f"TRL trains on the device it finds, {arguments.device}; got {device}; set device=auto")
    if arguments.n_gpu > 1:
        raise UserError(
            f"rl={settings.kind} trains on one GPU; torch sees {arguments.n_gpu}; set CUDA_VISIBLE_DEVICES to one"
        )
    return arguments


def _grpo(settings: GroupSettings) -> dict[str, Any]:
    """What GRPO has and RLOO has not."""
    special: dict[str, Any] = {"loss_type": settings.loss_type, "scale_rewards": settings.scale_rewards}
    if settings.loss_type == "cispo":
        special["epsilon_high"] = 1.0 + settings.clip_range_high  # there a bound of the ratio itself
    if settings.loss_type == "luspo":
        special["importance_sampling_level"] = "sequence"  # as its paper has it
    return special
