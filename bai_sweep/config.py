"""What a trial's configuration may say: a pydantic model for every group of conf/.

Defaults live in the YAML only; types, ranges and rules between fields live here only. `parse` turns Hydra's
DictConfig into a frozen `TrialConfig` or raises one `ConfigError` that lists every fault; past this line nobody
sees a DictConfig. Nothing here imports torch.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, Self, cast

from omegaconf import DictConfig, OmegaConf
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from bai_sweep.records import UserError
from bai_sweep.rules import faults_of_training
from bai_sweep.sources import fault_of


class ConfigError(UserError):
    """Every fault of a configuration, in one message."""

    @classmethod
    def of(cls, faults: Sequence[str]) -> Self:
        """Of faults that each name a key."""
        plural = "s" if len(faults) > 1 else ""
        return cls(f"bad configuration, {len(faults)} fault{plural}:\n" + "\n".join(f"  - {f}" for f in faults))


def _existing_source(source: str) -> str:
    if fault := fault_of(source):
        raise ValueError(fault)
    return source


def _sums_to_one(weights: dict[str, float]) -> dict[str, float]:
    total = math.fsum(weights.values())
    if abs(total - 1.0) > 1e-6:
        raise ValueError(f"weights must sum to 1; these sum to {total:g}; scale them or change one")
    return weights


def _plain_name(name: str) -> str:
    if not re.fullmatch(r"\w[\w.-]*", name):
        raise ValueError(
            f"a name may hold letters, digits, '.', '_' and '-', the first a letter or digit; got {name!r}"
        )
    return name


Source = Annotated[str, AfterValidator(_existing_source)]
Name = Annotated[str, AfterValidator(_plain_name)]
Ratio = Annotated[float, Field(ge=0.0, le=1.0)]
Decay = Annotated[float, Field(ge=0.0, lt=1.0)]
Weights = Annotated[dict[str, Ratio], Field(min_length=1), AfterValidator(_sums_to_one)]
Positive = Annotated[float, Field(gt=0.0, allow_inf_nan=False)]
NonNegative = Annotated[float, Field(ge=0.0, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=1)]


class Section(BaseModel):
    """A part of the configuration: unknown keys are faults, values are frozen."""

    model_config = ConfigDict(extra="forbid", frozen=True)


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
    micro_batch_tokens: Count | None
    gradient_checkpointing: bool


class ModelConfig(Section):
    """The checkpoints: one base, N SFT models, the source of the tokenizer, the dtype PPO keeps weights in."""

    name: Name
    base: Source
    sft: dict[Name, Source] = Field(min_length=1)
    reward: Source | None
    tokenizer: str
    dtype: Literal["float32", "bfloat16", "float16"]
    ppo: PPOScale

    @model_validator(mode="after")
    def _tokenizer_is_a_member(self) -> ModelConfig:
        members = ["base", *self.sft]
        if self.tokenizer not in members:
            raise ValueError(f"tokenizer names one of the models ({', '.join(members)}); got {self.tokenizer!r}")
        return self


class MergedActor(Section):
    """BAI: `alpha * base + (1 - alpha) * sum_i weights[i] * sft[i]`; alpha = 0 is stage 1 alone."""

    kind: Literal["merge"]
    name: Name
    alpha: Ratio
    weights: Weights


class SFTActor(Section):
    """Paradigms 1 to 3: the actor is one of the SFT models as it is."""

    kind: Literal["sft"]
    name: Name
    sft: str


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


class Benchmark(Section):
    """One benchmark as lm-eval runs it: task, reported metric and filter, shots, chat template, item limit."""

    task: str
    metric: str
    filter: str
    chat_template: bool
    num_fewshot: Annotated[int, Field(ge=0)] | None
    limit: Count | None


class EvaluationConfig(Section):
    """The benchmarks of `eval/<name>` and how the model is run on them."""

    name: Name
    benchmarks: dict[Name, Benchmark]
    unavailable: dict[Name, str]
    allow_missing: bool
    batch_tokens: Count
    max_new_tokens: Count
    think_end: str | None
    seed: int


class LengthCollapseConfig(Section):
    """Thresholds of the sequence-length-collapse detector (docs/metrics.md)."""

    baseline: Count
    window: Count
    early_fraction: Ratio
    suspected_drop: Ratio
    certain_drop: Ratio
    recovery_level: Ratio
    min_standard_errors: NonNegative


class HockeyStickConfig(Section):
    """Thresholds of the reward-hockey-stick detector (docs/metrics.md), in units of the reward's own noise."""

    baseline: Count
    window: Count
    early_fraction: Ratio
    suspected_dip: Positive
    certain_dip: Positive


class KLBlowUpConfig(Section):
    """Budgets of the KL detector, nats per sequence."""

    window: Count
    suspected: Positive
    certain: Positive


class StabilityConfig(Section):
    """The detectors' thresholds."""

    name: Name
    length_collapse: LengthCollapseConfig
    reward_hockey_stick: HockeyStickConfig
    kl_blow_up: KLBlowUpConfig


class TrackingConfig(Section):
    """Where runs are reported; the local journal is always kept."""

    kind: Literal["mlflow", "none"]
    name: Name
    uri: str
    artifacts: str
    experiment: str


class SelectionConfig(Section):
    """What makes a trial eligible, and how surely the winner has to lead to be called one."""

    name: Name
    allow_suspected: bool
    max_kl: Positive | None
    min_length_ratio: NonNegative | None
    bootstrap: Count
    confident: Ratio


class TrialConfig(Section):
    """One trial, whole and checked."""

    study: Name
    alpha: Ratio
    weights: Weights
    seed: Annotated[int, Field(ge=0, lt=2**63)]
    resume: bool
    workers: Count
    threads: Count | None
    device: Annotated[str, Field(pattern=r"^(auto|cpu|mps|cuda(:\d+)?)$")]
    results_dir: str
    save_merge: bool
    save_actor: bool
    model: ModelConfig
    actor: Annotated[MergedActor | SFTActor, Field(discriminator="kind")]
    rl: Annotated[PPOSettings | GroupSettings | NoRL, Field(discriminator="kind")]
    reward: RewardConfig
    evaluation: EvaluationConfig
    stability: StabilityConfig
    selection: SelectionConfig
    tracking: TrackingConfig


def parse(cfg: DictConfig) -> TrialConfig:
    """Checks a composed configuration.

    Raises:
        ConfigError: names every fault with its key, the value and the rule.
    """
    try:
        trial = OmegaConf.masked_copy(cfg, [str(key) for key in cfg if key != "hydra"])
        raw = OmegaConf.to_container(trial, resolve=True, throw_on_missing=True)
    except Exception as error:  # noqa: BLE001 - OmegaConf has a dozen; each message names the key
        raise ConfigError(f"bad configuration:\n  - {error}") from None
    return parse_mapping(cast("dict[str, Any]", raw))


def parse_mapping(raw: Mapping[str, Any]) -> TrialConfig:
    """`parse` for plain values, as stored beside a finished trial."""
    try:
        config = TrialConfig.model_validate(raw)
        faults = _faults_between_fields(config.model_dump())
    except ValidationError as error:
        described = [_describe(fault) for fault in error.errors()]
        # conf/actor/ repeats alpha and weights: one fault is said once
        said = set(described)
        faults = [
            d for d in described if d.removeprefix("actor.") == d or d.removeprefix("actor.") not in said
        ] + _faults_between_fields(raw)
    if faults:
        raise ConfigError.of(faults)
    return config


def _describe(fault: Any) -> str:
    group, *rest = fault["loc"]
    if group in ("actor", "rl"):  # pydantic puts the kind of a union's member into the path
        rest = rest[1:]
    key = ".".join(str(part) for part in (group, *rest))
    if fault["type"] == "extra_forbidden":
        return f"{key}: there is no such key; `python -m bai_sweep --help` lists them"
    return f"{key}: {fault_text(fault)}"


def fault_text(fault: Any) -> str:
    """The rule that one of pydantic's faults broke, and the value where the rule does not say it."""
    message = fault["msg"].removeprefix("Value error, ")
    value = fault["input"]
    shown = f" (got {value!r})" if isinstance(value, str | int | float) and repr(value) not in message else ""
    return f"{message}{shown}"


def _faults_between_fields(raw: Mapping[str, Any]) -> list[str]:
    """Rules that span fields, checked on whatever is well-formed so that they show beside the other faults."""
    rl = raw.get("rl")
    training = faults_of_training(rl) if isinstance(rl, Mapping) else ()
    return [*_faults_of_names(raw), *(f"rl.{key}: {text}" for key, text in training)]


def _faults_of_names(raw: Mapping[str, Any]) -> list[str]:
    model, actor, weights = raw.get("model"), raw.get("actor"), raw.get("weights")
    if not isinstance(model, Mapping) or not isinstance(model.get("sft"), Mapping):
        return []
    known = ", ".join(model["sft"])
    faults = []
    if isinstance(actor, Mapping) and actor.get("kind") == "sft" and actor.get("sft") not in model["sft"]:
        faults.append(f"actor.sft: names one of model.sft ({known}); got {actor.get('sft')!r}")
    if isinstance(weights, Mapping) and set(weights) != set(model["sft"]):
        faults.append(f"weights: one for each of model.sft ({known}); got {', '.join(map(str, weights))}")
    return faults
