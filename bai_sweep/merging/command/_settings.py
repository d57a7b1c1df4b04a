"""What the command's settings may be, and the fault of each that is not."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, ValidationError

from bai_sweep.config import (
    ConfigError,
    Count,
    MergedActor,
    MergeMethod,
    Name,
    Ratio,
    Section,
    Seed,
    Source,
    Weights,
    fault_text,
)

_UNITS = {"": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "KIB": 2**10, "MIB": 2**20, "GIB": 2**30}
_TAKEN = {"base": "the base model's", "merge": "the result's"}


def _bytes(size: object) -> int:
    found = re.fullmatch(r"(\d+(?:\.\d+)?) ?([KMG]I?B)?", str(size).upper())
    number = int(float(found[1]) * _UNITS[found[2] or ""]) if found else 0
    if number < 1:
        raise ValueError(f"a size is bytes, or a number with KB, MB, GB, KiB, MiB or GiB, as 5GB; got {size!r}")
    return number


class MergeSettings(Section):
    """One merge by command; conf/merge.yaml says what each key is."""

    base: Source | None
    sft: dict[Name, Source]
    out: Annotated[str, Field(min_length=1)]
    alpha: Ratio
    weights: Weights | None
    merge: MergeMethod
    tokenizer: str | None
    vocabulary: Literal["union", "tokenizer"]
    missing_tokens: Literal["mean", "zero", "refuse"]
    dtype: Literal["float32", "bfloat16", "float16"] | None
    max_shard_size: Annotated[int, BeforeValidator(_bytes)]
    threads: Count | None
    diagnostics: Literal["sample", "full", "none"]
    figure: bool
    dry_run: bool
    seed: Seed

    @property
    def folder(self) -> Path:
        """Where the result goes; it appears there when it is whole."""
        return Path(self.out).expanduser()

    @property
    def sources(self) -> dict[str, str]:
        """Every model by its name, the base first if there is one."""
        return ({} if self.base is None else {"base": self.base}) | self.sft

    @property
    def actor(self) -> MergedActor:
        """The merge as a trial's configuration has it."""
        weights = self.weights or dict.fromkeys(self.sft, 1.0 / len(self.sft))
        return MergedActor(kind="merge", name="merge", alpha=self.alpha, weights=weights, merge=self.merge)

    @property
    def tokenizer_model(self) -> str:
        """Whose tokenizer the result has: the base's seldom has a chat template, an SFT model's does."""
        return self.tokenizer or next(iter(self.sft))


def check(raw: Mapping[str, Any], faults: Sequence[str] = ()) -> MergeSettings:
    """The settings of plain values; `faults` were found before.

    Raises:
        ConfigError: Names every fault with its key, the value and the rule.
    """
    faults = list(faults)
    settings = None
    try:
        settings = MergeSettings.model_validate(raw)
    except ValidationError as error:
        faults += [_describe(fault, raw) for fault in error.errors()]
    faults += _faults_between(raw)
    if settings is not None and not faults:
        faults += _faults_of_base(settings)
    if settings is None or faults:
        raise ConfigError.of(faults)
    return settings


def _describe(fault: Any, raw: Mapping[str, Any]) -> str:
    place = [str(part) for part in fault["loc"] if part != "[key]"]
    if place[0] == "merge":  # pydantic puts the method's name into the path
        del place[1:2]
    key = ".".join(place)
    if fault["type"] == "extra_forbidden":
        return f"{key}: there is no such key{_nearest(place, raw)}"
    if fault["type"] == "missing":
        return f"{key}: is needed, as {key}=<folder>" if key == "out" else f"{key}: is needed"
    if key == "sft":
        return f"sft: each model has a name, as sft.<name>=<folder or hub id>; got {fault['input']!r}"
    return f"{key}: {fault_text(fault)}"


def _nearest(place: list[str], raw: Mapping[str, Any]) -> str:
    from difflib import get_close_matches

    known: list[str] = [key for key in MergeSettings.model_fields if key in raw or key == "out"]
    if len(place) > 1:
        known = _keys_of_method(raw, place[1:-1])
    near = get_close_matches(place[-1], known, n=1)
    if near:
        return f"; did you mean {'.'.join([*place[:-1], near[0]])}?"
    return f"; there are {', '.join(known)}" if known else "; this method has no settings"


def _keys_of_method(raw: Mapping[str, Any], below: list[str]) -> list[str]:
    from bai_sweep.merging.command._arguments import method_defaults

    group: Any = method_defaults(raw["merge"]["method"])
    for part in below:
        group = group.get(part, {})
    return [key for key in group if key != "method"]


def _faults_between(raw: Mapping[str, Any]) -> list[str]:
    """Rules that span keys, checked on whatever is well-formed so that they show beside the other faults."""
    sft, weights, tokenizer = raw.get("sft"), raw.get("weights"), raw.get("tokenizer")
    if not isinstance(sft, Mapping):
        return []
    if not sft:
        return ["sft: at least one SFT model is needed, as sft.<name>=<folder or hub id>"]
    known = ", ".join(sft)
    faults = [
        f"sft: {name!r} is {whose} name; give the SFT model another" for name, whose in _TAKEN.items() if name in sft
    ]
    if isinstance(weights, Mapping) and set(weights) != set(sft):
        faults.append(f"weights: one for each SFT model ({known}); got {', '.join(map(str, weights))}")
    members = [*(["base"] if raw.get("base") else []), *sft]
    if tokenizer is not None and tokenizer not in members:
        faults.append(f"tokenizer: names one of the models ({', '.join(members)}); got {tokenizer!r}")
    return faults


def _faults_of_base(settings: MergeSettings) -> list[str]:
    from bai_sweep.merging.methods import method_of

    if settings.base is not None or "base" not in method_of(settings.actor).members:
        return []
    return [f"base: is needed, as base=<folder or hub id>; only alpha=0 does without (got alpha={settings.alpha:g})"]
