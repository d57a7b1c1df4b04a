"""From `key=value` arguments to checked settings, composed by Hydra over conf/evaluate.yaml."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, cast

from pydantic import Field, ValidationError

from bai_sweep.config import ConfigError, Count, EvaluationConfig, JudgeConfig, Section, Source, fault_text
from bai_sweep.sources import packaged_dir

MODEL = "model="


class RunSettings(Section):
    """One evaluation by command; conf/evaluate.yaml says what each key is."""

    model: Source
    tokenizer: Source | None
    dtype: Literal["float32", "bfloat16", "float16"] | None
    device: Annotated[str, Field(pattern=r"^(auto|cpu|mps|cuda(:\d+)?)$")]
    threads: Count | None
    limit: Count | None
    out: str | None
    results_dir: str
    evaluation: EvaluationConfig
    judge: JudgeConfig

    @property
    def folder(self) -> Path:
        """Where the report goes."""
        if self.out is not None:
            return Path(self.out).expanduser()
        plain = re.sub(r"[^\w.-]+", "_", self.model.rstrip("/")).strip("_.")
        return Path(self.results_dir) / "evaluation" / plain


def settings_of(arguments: Sequence[str], *, model: str | None = None) -> RunSettings:
    """The checked settings.

    Args:
        arguments: Hydra overrides.
        model: Stands in where none is given.

    Raises:
        ConfigError: Names every fault.
    """
    raw = _composed(arguments, model)
    limit = raw.get("limit")
    if isinstance(limit, int) and limit > 0:  # another is a fault, said once
        for benchmark in _benchmarks(raw):
            benchmark["limit"] = limit
    try:
        return RunSettings.model_validate(raw)
    except ValidationError as error:
        raise ConfigError.of([_describe(fault) for fault in error.errors()]) from None


def _benchmarks(raw: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Those of a configuration that is not checked yet."""
    evaluation = raw.get("evaluation")
    benchmarks = evaluation.get("benchmarks") if isinstance(evaluation, dict) else None
    return [entry for entry in benchmarks.values() if isinstance(entry, dict)] if isinstance(benchmarks, dict) else []


def _composed(arguments: Sequence[str], model: str | None) -> dict[str, Any]:
    from hydra import compose, initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra
    from hydra.errors import HydraException
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    # conf/model/ is a group: Hydra would take model=<folder> for a choice of one of its files
    models = [argument for argument in arguments if argument.startswith(MODEL)]
    overrides = [argument for argument in arguments if argument not in models]
    GlobalHydra.instance().clear()
    try:
        with initialize_config_dir(str(packaged_dir("conf")), version_base="1.3"):
            composed = compose("evaluate", overrides=overrides)
        if models or model is not None:
            composed.model = models[-1].removeprefix(MODEL) if models else model
        return cast("dict[str, Any]", OmegaConf.to_container(composed, resolve=True, throw_on_missing=True))
    except (HydraException, OmegaConfBaseException) as error:
        raise ConfigError(f"bad configuration:\n  - {error}") from None


def _describe(fault: Any) -> str:
    key = ".".join(str(part) for part in fault["loc"])
    if fault["type"] == "extra_forbidden":
        return f"{key}: there is no such key; conf/evaluate.yaml and its groups list them"
    return f"{key}: {fault_text(fault)}"
