"""One trial's configuration, whole, and how it is checked."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, cast

from pydantic import Field, ValidationError

from bai_sweep.config._actor import MergedActor, ModelConfig, SFTActor
from bai_sweep.config._judge import JudgeConfig
from bai_sweep.config._measures import EvaluationConfig, SelectionConfig, TrackingConfig
from bai_sweep.config._stability import StabilityConfig
from bai_sweep.config._training import GroupSettings, NoRL, PPOSettings, RewardConfig
from bai_sweep.config._values import ConfigError, Count, Name, Ratio, Section, Seed, Weights
from bai_sweep.rules import faults_of_training

if TYPE_CHECKING:
    from omegaconf import DictConfig


class TrialConfig(Section):
    """One trial, whole and checked."""

    study: Name
    alpha: Ratio
    weights: Weights
    seed: Seed
    seeds: Count
    resume: bool
    force: bool
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
    judge: JudgeConfig
    stability: StabilityConfig
    selection: SelectionConfig
    tracking: TrackingConfig


def parse(cfg: DictConfig) -> TrialConfig:
    """Checks a composed configuration.

    Raises:
        ConfigError: names every fault with its key, the value and the rule.
    """
    from omegaconf import OmegaConf  # who has a DictConfig has imported it

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
    owner = ""
    if group in ("actor", "rl", "judge"):  # pydantic puts the kind of a union's member into the path
        rest = rest[1:]
    if group == "actor" and rest[:1] == ["merge"] and len(rest) > 1:
        owner = f"; actor/merge={rest.pop(1)} has none"
    if fault["type"] in ("union_tag_invalid", "union_tag_not_found"):
        rest.append(fault["ctx"]["discriminator"].strip("'"))
    key = ".".join(str(part) for part in (group, *rest))
    if fault["type"] == "extra_forbidden":
        return f"{key}: there is no such key{owner or '; `python -m bai_sweep --help` lists them'}"
    if fault["type"] == "model_attributes_type" and key == "actor.merge":
        return f"{key}: a group of settings, chosen as actor/merge=<method>; got {fault['input']!r}"
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
    return [
        *_faults_of_names(raw),
        *(f"rl.{key}: {text}" for key, text in training),
        *_faults_of_selection(raw),
    ]


def _faults_of_selection(raw: Mapping[str, Any]) -> list[str]:
    selection, evaluation, stability = (raw.get(key) for key in ("selection", "evaluation", "stability"))
    benchmarks = evaluation.get("benchmarks") if isinstance(evaluation, Mapping) else None
    if not (isinstance(evaluation, Mapping) and isinstance(benchmarks, Mapping) and isinstance(stability, Mapping)):
        return []
    try:
        config = SelectionConfig.model_validate(selection)
    except ValidationError:  # its own faults are listed already
        return []
    known = [*benchmarks, *(evaluation.get("unavailable") or ())]
    return [f"selection.{fault}" for fault in config.faults(known, [key for key in stability if key != "name"])]


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
