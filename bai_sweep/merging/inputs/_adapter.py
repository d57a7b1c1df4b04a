"""What adapter_config.json of a LoRA adapter (PEFT) says, and the adapters that are no sum with the base."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bai_sweep.merging._json import read_json
from bai_sweep.merging.inputs._layout import ADAPTER_SETTINGS, as_arguments
from bai_sweep.records import UserError

# those that leave the base's weights as they are; PiSSA, CorDA, OLoRA, LoftQ and LoRA-GA change them
_STARTS = (True, False, "gaussian", "eva", "orthogonal")
# settings of PEFT that, when set, make an adapter something else than base + scale * B @ A
_SPECIAL = (
    *("use_dora", "use_qalora", "lora_bias", "layer_replication", "target_parameters", "trainable_token_indices"),
    *("alora_invocation_tokens", "arrow_config", "use_bdlora", "kasa_config", "velora_config", "monteclora_config"),
    "megatron_config",
)


@dataclass(frozen=True)
class LoraSettings:
    """An adapter's settings, under PEFT's names.

    Args:
        base_model_name_or_path: The base: a folder or a hub id.
        revision: Of a base on the hub.
        r: Rank.
        lora_alpha: Numerator of the scale.
        use_rslora: Whether the scale is `alpha / sqrt(r)` (arXiv 2312.03732), not `alpha / r`.
        rank_pattern: Ranks of modules whose names end as these regular expressions say.
        alpha_pattern: Likewise.
        fan_in_fan_out: Whether weights are stored as (in, out).
        modules_to_save: Modules that were trained whole.
        ensure_weight_tying: Whether embedding and head were kept the same.
    """

    base_model_name_or_path: str
    revision: str | None
    r: int
    lora_alpha: float
    use_rslora: bool
    rank_pattern: Mapping[str, int]
    alpha_pattern: Mapping[str, float]
    fan_in_fan_out: bool
    modules_to_save: tuple[str, ...]
    ensure_weight_tying: bool

    def rank(self, module: str) -> int:
        """A module's rank."""
        return self.rank_pattern.get(_pattern(self.rank_pattern, module), self.r)

    def scale(self, module: str) -> float:
        """What a module's `B @ A` is multiplied with."""
        alpha = self.alpha_pattern.get(_pattern(self.alpha_pattern, module), self.lora_alpha)
        rank = self.rank(module)
        return alpha / math.sqrt(rank) if self.use_rslora else alpha / rank

    def saves(self, module: str) -> bool:
        """Whether a module was trained whole, apart from what it was tied to."""
        return any(module == name or module.endswith(f".{name}") for name in self.modules_to_save)


def merge_first(source: str) -> str:
    """How to make a model of an adapter that cannot be read as one."""
    return (
        "make it a model with PEFT and name that folder:\n"
        "    from peft import AutoPeftModelForCausalLM\n"
        f"    model = AutoPeftModelForCausalLM.from_pretrained({as_arguments(source)})\n"
        '    model.merge_and_unload().save_pretrained("merged")'
    )


def read_adapter(folder: Path, source: str) -> LoraSettings:
    """The settings of the adapter in a folder.

    Raises:
        UserError: adapter_config.json is broken, or describes something else than a plain LoRA.
    """
    raw = read_json(folder / ADAPTER_SETTINGS)
    kind = raw.get("peft_type")
    if kind != "LORA":
        raise UserError(f"{source}: of PEFT's adapters LoRA is read; this is {kind!r}; {merge_first(source)}")
    if special := [name for name in _SPECIAL if raw.get(name)]:
        raise UserError(f"{source}: a plain LoRA is read; this one sets {', '.join(special)}; {merge_first(source)}")
    start = raw.get("init_lora_weights", True)
    if start not in _STARTS:
        raise UserError(
            f"{source}: a LoRA is added to its base's weights, and init_lora_weights={start!r} changed them; "
            + merge_first(source)
        )
    try:
        return _settings(raw)
    except (TypeError, ValueError, re.error) as error:
        raise UserError(f"{folder / ADAPTER_SETTINGS}: {error}; fetch the adapter again") from error


def _settings(raw: Mapping[str, Any]) -> LoraSettings:
    base, revision = raw.get("base_model_name_or_path"), raw.get("revision")
    if not isinstance(base, str) or not base:
        raise ValueError(f"base_model_name_or_path names the base, a folder or a hub id; got {base!r}")
    if revision is not None and not isinstance(revision, str):
        raise ValueError(f"revision is a string or null; got {revision!r}")
    ranks = {key: _number("rank_pattern", rank) for key, rank in (raw.get("rank_pattern") or {}).items()}
    alphas = {key: _number("alpha_pattern", alpha) for key, alpha in (raw.get("alpha_pattern") or {}).items()}
    for pattern in (*ranks, *alphas):
        re.compile(pattern)
    saved = raw.get("modules_to_save") or ()
    return LoraSettings(
        base_model_name_or_path=base,
        revision=revision or None,
        r=int(_number("r", raw.get("r"))),
        lora_alpha=_number("lora_alpha", raw.get("lora_alpha")),
        use_rslora=bool(raw.get("use_rslora")),
        rank_pattern={key: int(rank) for key, rank in ranks.items()},
        alpha_pattern=alphas,
        fan_in_fan_out=bool(raw.get("fan_in_fan_out")),
        modules_to_save=tuple(str(name) for name in saved),
        ensure_weight_tying=bool(raw.get("ensure_weight_tying")),
    )


def _number(name: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not (0 < value < math.inf):
        raise ValueError(f"{name} is a number above 0; got {value!r}")
    return value


def _pattern(patterns: Mapping[str, object], module: str) -> str:
    """The first pattern that a module's name ends with, at a dot; the name itself where none does."""
    return next((p for p in patterns if re.match(rf"(.*\.)?({p})$", module)), module)
