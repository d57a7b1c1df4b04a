"""How an actor is trained: PPO, TRL's critic-free trainers, what they are paid for."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import Field, model_validator

from bai_sweep.config._values import Count, Decay, Name, NonNegative, Positive, Ratio, Section, Source


class PPOScale(Section):
    """PPO's settings that go with a model's size and the length of its responses; conf/rl/*.yaml refers to them."""

    actor_learning_rate: Positive
    critic_learning_rate: Positive
    steps: Count
    batch_size: Count
    minibatch_size: Count
    max_new_tokens: Count
    critic_warmup_steps: Annotated[int, Field(ge=0)]
    gae_length_alpha: Positive
    precision: Literal["fp32", "bf16"]
    micro_batch_tokens: Count | None
    gradient_checkpointing: bool


class LoRASettings(Section):
    """Low-rank adapters of actor and critic, trained in place of their weights (the critic's head is trained too)."""

    r: Count
    alpha: Positive
    target_modules: str | tuple[str, ...]


class VLLMSettings(Section):
    """Where vLLM runs and how long it may take (seconds)."""

    mode: Literal["server", "colocate"]
    url: Annotated[str, Field(pattern=r"^https?://[^\s/]+")]
    group_port: Annotated[int, Field(ge=1, le=65535)]
    timeout: Positive
    gpu_memory_utilization: Annotated[float, Field(gt=0.0, le=1.0)]
    tensor_parallel_size: Count
    max_model_length: Count | None


class TrainingSettings(Section):
    """What PPO and TRL's trainers have in common; rules.py has what holds between settings."""

    name: Name
    steps: Count
    batch_size: Count
    minibatch_size: Count
    num_generations: Count
    actor_learning_rate: Positive
    lr_schedule: Literal["constant", "linear", "cosine"]
    lr_warmup_steps: Annotated[int, Field(ge=0)]
    adam_betas: tuple[Decay, Decay]
    weight_decay: NonNegative
    max_grad_norm: Positive
    clip_range_low: Annotated[float, Field(gt=0.0, le=1.0)]
    clip_range_high: Positive
    temperature: Positive
    max_new_tokens: Count
    max_prompt_tokens: Count
    precision: Literal["fp32", "bf16"]
    gradient_checkpointing: bool
    checkpoint_steps: Annotated[int, Field(ge=0)]
    checkpoint_limit: Count


class PPOSettings(TrainingSettings):
    """PPO's hyperparameters: conf/rl/ppo.yaml says what each does, docs/ppo.md where it comes from."""

    kind: Literal["ppo"]
    ppo_epochs: Count
    critic_learning_rate: Positive
    # advantages
    gamma: Ratio
    gae_lambda: Ratio
    gae_lambda_critic: Ratio | None
    gae_length_alpha: Positive | None
    whitening: Literal["none", "mean_std", "std"]
    # policy loss
    dual_clip: Annotated[float, Field(gt=1.0, allow_inf_nan=False)] | None
    loss_aggregation: Literal["token", "sequence", "constant"]
    entropy_coef: Annotated[float, Field(allow_inf_nan=False)]
    positive_nll_coef: NonNegative
    positive_score: Annotated[float, Field(allow_inf_nan=False)]
    importance_correction: Literal["none", "token_truncate", "token_mask", "sequence_truncate", "sequence_mask"]
    importance_cap: Annotated[float, Field(ge=1.0, allow_inf_nan=False)]
    # critic
    critic: Source | None
    critic_warmup_steps: Annotated[int, Field(ge=0)]
    clip_range_value: Positive | None
    # KL to the reference
    kl_coef: NonNegative
    kl_estimator: Literal["k1", "k2", "k3", "abs"]
    kl_target: Positive | None
    kl_horizon: Count
    kl_loss_coef: NonNegative
    kl_loss_estimator: Literal["k1", "k2", "k3", "abs"]
    kl_to_sft: bool
    # length
    missing_eos_penalty: NonNegative
    overlong_buffer: Annotated[int, Field(ge=0)]
    overlong_penalty: NonNegative
    mask_truncated: bool
    # rollouts
    engine: Literal["hf", "vllm"]
    static_cache: bool
    vllm: VLLMSettings
    # compute
    micro_batch_tokens: Count | None
    lora: LoRASettings | None
    num_processes: Count
    accelerate_config: str | None


class GroupSettings(TrainingSettings):
    """TRL's critic-free trainers: advantages come from several completions of one prompt."""

    kind: Literal["grpo", "rloo"]
    num_iterations: Count
    kl_coef: NonNegative
    loss_type: Literal["grpo", "dr_grpo", "dapo", "bnpo", "cispo", "sapo", "luspo", "vespo"] | None
    scale_rewards: Literal["group", "batch", "none"] | None
    mask_truncated: bool


class NoRL(Section):
    """No reinforcement learning: the initial actor is evaluated as it is."""

    kind: Literal["none"]
    name: Name


class RewardFunction(Section):
    """One reward: a Python callable with TRL's signature, `package.module:name`, or a reward model's checkpoint."""

    function: str | None = None
    model: Source | None = None
    weight: float

    @model_validator(mode="after")
    def _one_kind(self) -> RewardFunction:
        if (self.function is None) == (self.model is None):
            raise ValueError("a reward is either `function: package.module:name` or `model: <checkpoint>`")
        if self.function is not None and not re.fullmatch(r"[\w.]+:\w+", self.function):
            raise ValueError(f"a reward function is named 'package.module:name'; got {self.function!r}")
        return self


class PromptsConfig(Section):
    """Where PPO's prompts come from: `testbed`, a .jsonl/.parquet file, or a hub dataset `owner/name`."""

    source: str
    split: str
    column: str
    count: Count | None


class RewardConfig(Section):
    """What PPO is paid for: the prompts, and the functions that score their completions (weighted sum)."""

    name: Name
    prompts: PromptsConfig
    functions: dict[Name, RewardFunction] = Field(min_length=1)
