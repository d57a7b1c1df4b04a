"""How a trial was set up, read from its folder: as much as it takes to merge its actor and to score it again."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, TypeAdapter, ValidationError

from bai_sweep.config import EvaluationConfig, JudgeConfig, MergedActor, ModelConfig, SFTActor, fault_text
from bai_sweep.records import MergeRecipe, UserError
from bai_sweep.sources import TESTBED_SCHEME

_PARTS = ("model", "actor", "rl", "evaluation", "judge")
_MASK = "***"  # what tracking writes in place of a secret
_Actor: TypeAdapter[MergedActor | SFTActor] = TypeAdapter(
    Annotated[MergedActor | SFTActor, Field(discriminator="kind")]
)
_Judge: TypeAdapter[JudgeConfig] = TypeAdapter(JudgeConfig)


@dataclass(frozen=True)
class Setup:
    """A trial's configuration, as far as promotion needs it; what else it names may be gone.

    Args:
        model: The checkpoints, in the commits and places that the trial read.
        actor: What it merged of them.
        training: What came after: `ppo, 50 steps`, or `none`.
        evaluation: How it was scored.
        judge: By whom.
    """

    model: ModelConfig
    actor: MergedActor | SFTActor
    training: str
    evaluation: EvaluationConfig
    judge: JudgeConfig


def read_setup(folder: Path, recipe: MergeRecipe | None, moved: Mapping[str, str]) -> Setup:
    """Reads the configuration of the trial in `folder`.

    Args:
        folder: The trial's.
        recipe: What it merged, with the commits; None if it did not come so far.
        moved: Where models are now, by their names, if not where the trial had them.

    Raises:
        UserError: The folder does not say how the trial was set up, or a model is not where it was.
    """
    raw = _raw(folder)
    raw["model"] = _placed(raw["model"], {} if recipe is None else recipe.sources, moved, _directory(folder))
    try:
        return Setup(
            ModelConfig.model_validate(raw["model"]),
            _Actor.validate_python(raw["actor"]),
            f"{raw['rl']['name']}, {raw['rl']['steps']} steps" if raw["rl"]["kind"] != "none" else "none",
            EvaluationConfig.model_validate(raw["evaluation"]),
            _Judge.validate_python(raw["judge"]),
        )
    except ValidationError as error:
        faults = "\n".join(f"  - {'.'.join(map(str, e['loc']))}: {fault_text(e)}" for e in error.errors())
        raise UserError(
            f"the trial in {folder} cannot be merged again:\n{faults}\nwhere a model has moved, name its place: "
            "model.base=<folder>, model.sft.<name>=<folder>"
        ) from error


def _raw(folder: Path) -> dict[str, Any]:
    """The configuration as the trial resolved it; Hydra's where that was not written, or had to be masked."""
    import yaml
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    resolved, composed = folder / "artifacts" / "config.yaml", folder / ".hydra" / "config.yaml"
    try:
        if resolved.is_file():
            text = resolved.read_text(encoding="utf-8")
            raw = {part: yaml.safe_load(text)[part] for part in _PARTS}
            if _MASK not in json.dumps(raw) or not composed.is_file():
                return raw
        if composed.is_file():
            config: Any = OmegaConf.load(composed)
            return {part: OmegaConf.to_container(config[part], resolve=True) for part in _PARTS}
    except (KeyError, yaml.YAMLError, OmegaConfBaseException) as error:
        raise UserError(f"the configuration of the trial in {folder} cannot be read: {error}") from error
    raise UserError(
        f"{folder} does not say how the trial was set up (artifacts/config.yaml or .hydra/config.yaml); copy the "
        "trial's folder from the machine that ran it"
    )


def _directory(folder: Path) -> Path | None:
    """Where the trial ran: relative names of models begin there."""
    path = folder / "artifacts" / "environment.json"
    if not path.is_file():
        return None
    found = json.loads(path.read_text(encoding="utf-8")).get("cwd")
    return None if found is None else Path(found)


def _placed(
    model: Mapping[str, Any], read: Mapping[str, str], moved: Mapping[str, str], directory: Path | None
) -> dict[str, Any]:
    """The models where they are now, without the reward model, which no merge needs."""
    named = {"base": model["base"], **model["sft"]}
    if unknown := sorted(set(moved) - set(named)):
        raise UserError(f"the trial has the models {', '.join(named)}; got a place for {', '.join(unknown)}")
    found = {name: moved.get(name) or _found(read.get(name, source), directory) for name, source in named.items()}
    return {**model, "base": found.pop("base"), "sft": found, "reward": None}


def _found(source: str, directory: Path | None) -> str:
    if directory is None or source.startswith(TESTBED_SCHEME) or Path(source).expanduser().exists():
        return source
    return str(directory / source) if (directory / source).is_dir() else source
