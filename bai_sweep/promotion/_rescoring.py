"""The command that scores a promoted model as its trial was scored."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bai_sweep.evaluation.command import RunSettings, settings_of
from bai_sweep.promotion._setup import Setup
from bai_sweep.sources import packaged_dir
from bai_sweep.tracking import mask_text

_STAND_IN = "testbed://base"  # settings are checked before there is a folder


@dataclass(frozen=True)
class Rescoring:
    """Args:
    command: To type.
    doubt: What it does otherwise than the trial did; empty if nothing.
    """

    command: str
    doubt: str = ""


def rescoring(folder: Path, setup: Setup) -> Rescoring:
    """The command for the model in `folder`: the trial's benchmarks, judge, limits, seed and dtype.

    It begins with the configuration of the trial's names and sets what differs; that it comes out as the trial's is
    checked by composing it.
    """
    groups = [f"{group}={_known(group, getattr(setup, group).name)}" for group in ("evaluation", "judge")]
    begun = settings_of(groups, model=_STAND_IN)
    settings = [f"dtype={setup.model.dtype}", *groups, *_settings(begun, setup)]
    words = ["python", "-m", "bai_sweep.evaluation", "run", f"model={folder.absolute()}", *settings]
    shown = [mask_text(word) for word in words]
    command = shlex.join(shown)
    if shown != words:
        return Rescoring(command, "a secret is left out of it")
    composed = settings_of(settings, model=_STAND_IN)
    same = (composed.evaluation, composed.judge) == (setup.evaluation, setup.judge)
    return Rescoring(command, "" if same else "its settings are not all of the trial's")


def _known(group: str, name: str) -> str:
    """The group's file of that name, or the empty one, to which everything is added."""
    return name if (packaged_dir("conf") / group / f"{name}.yaml").is_file() else "none"


def _settings(begun: RunSettings, setup: Setup) -> Iterator[str]:
    for group in ("evaluation", "judge"):
        there, wanted = (getattr(of, group).model_dump(mode="json") for of in (begun, setup))
        yield from _differences(group, there, wanted)


def _differences(path: str, there: Mapping[str, Any], wanted: Mapping[str, Any]) -> Iterator[str]:
    """Hydra overrides that make one of the other."""
    yield from (f"~{path}.{key}" for key in there if key not in wanted)
    for key, value in wanted.items():
        if key in there and there[key] == value:
            continue
        if isinstance(value, dict) and isinstance(there.get(key), dict):
            yield from _differences(f"{path}.{key}", there[key], value)
        else:
            yield f"++{path}.{key}={_written(value)}"


def _written(value: Any) -> str:
    """A value in the grammar of Hydra's overrides."""
    if isinstance(value, dict):
        return "{" + ",".join(f"{key}:{_written(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(_written, value)) + "]"
    if isinstance(value, str):
        return "'" + value.replace("'", "\\'") + "'"
    if value is None:
        return "null"
    return str(value).lower() if isinstance(value, bool) else repr(value)
