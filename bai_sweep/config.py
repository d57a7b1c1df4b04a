"""What a trial's configuration may say: a pydantic model for every group of conf/.

Defaults live in the YAML only; types, ranges and rules between fields live here only. `parse` turns Hydra's
DictConfig into a frozen `TrialConfig` or raises one `ConfigError` that lists every fault; past this line nobody
sees a DictConfig. Nothing here imports torch.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal, cast

from omegaconf import DictConfig, OmegaConf
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from bai_sweep.records import UserError
from bai_sweep.sources import fault_of


class ConfigError(UserError):
    """Every fault of a configuration, in one message."""


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
Weights = Annotated[dict[str, Ratio], Field(min_length=1), AfterValidator(_sums_to_one)]
Positive = Annotated[float, Field(gt=0.0, allow_inf_nan=False)]
NonNegative = Annotated[float, Field(ge=0.0, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=1)]


class Section(BaseModel):
    """A part of the configuration: unknown keys are faults, values are frozen."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class PPOScale(Section):
    """PPO's settings that go with a model's size; conf/rl/*.yaml refers to them."""

    actor_learning_rate: Positive
    critic_learning_rate: Positive
    steps: Count
    batch_size: Count
    minibatch_size: Count
    max_new_tokens: Count


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


class PPOSettings(Section):
    """PPO's hyperparameters; docs/metrics.md and bai_sweep/ppo give the formulas."""

    kind: Literal["ppo"]
    name: Name
    steps: Count
    batch_size: Count
    minibatch_size: Count
    ppo_epochs: Count
    actor_learning_rate: Positive
    critic_learning_rate: Positive
    adam_betas: tuple[Ratio, Ratio]
    max_grad_norm: Positive
    clip_range: Positive
    clip_range_value: Positive
    gamma: Ratio
    gae_lambda: Ratio
    kl_coef: NonNegative
    kl_estimator: Literal["k1", "k3"]
    whiten_advantages: bool
    critic: Source | None
    temperature: Positive
    max_new_tokens: Count
    max_prompt_tokens: Count
    missing_eos_penalty: NonNegative
    precision: Literal["fp32", "bf16"]


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
    rl: Annotated[PPOSettings | NoRL, Field(discriminator="kind")]
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
    faults = _faults_between_fields(raw)
    try:
        config = TrialConfig.model_validate(raw)
    except ValidationError as error:
        described = [_describe(fault) for fault in error.errors()]
        # conf/actor/ repeats alpha and weights: one fault is said once
        said = set(described)
        faults = [
            d for d in described if d.removeprefix("actor.") == d or d.removeprefix("actor.") not in said
        ] + faults
    if faults:
        plural = "s" if len(faults) > 1 else ""
        raise ConfigError(f"bad configuration, {len(faults)} fault{plural}:\n" + "\n".join(f"  - {f}" for f in faults))
    return config


def _describe(fault: Any) -> str:
    group, *rest = fault["loc"]
    if group in ("actor", "rl"):  # pydantic puts the kind of a union's member into the path
        rest = rest[1:]
    key = ".".join(str(part) for part in (group, *rest))
    if fault["type"] == "extra_forbidden":
        return f"{key}: there is no such key; `python -m bai_sweep --help` lists them"
    message = fault["msg"].removeprefix("Value error, ")
    value = fault["input"]
    shown = f" (got {value!r})" if isinstance(value, str | int | float) and repr(value) not in message else ""
    return f"{key}: {message}{shown}"


def _faults_between_fields(raw: Mapping[str, Any]) -> list[str]:
    """Rules that span fields, checked on whatever is well-formed so that they show beside the other faults."""
    return [*_faults_of_names(raw), *_faults_of_batches(raw)]


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


def _faults_of_batches(raw: Mapping[str, Any]) -> list[str]:
    rl = raw.get("rl")
    if not isinstance(rl, Mapping):
        return []
    batch, minibatch = rl.get("batch_size"), rl.get("minibatch_size")
    if not isinstance(batch, int) or not isinstance(minibatch, int) or minibatch < 1 or batch % minibatch == 0:
        return []
    return [f"rl.minibatch_size: must divide rl.batch_size; {batch} / {minibatch} leaves {batch % minibatch}"]
