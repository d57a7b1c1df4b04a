"""Studies on disk whose merges are real and whose scores are invented."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir

from bai_sweep.config import TrackingConfig, TrialConfig, parse
from bai_sweep.merging import identified, initialise
from bai_sweep.promotion import Request, read_study
from bai_sweep.records import TrialResult, Verdict
from bai_sweep.sources import packaged_dir
from bai_sweep.tracking import config_yaml
from tests.synthetic import score, trial

GOOD, FAIR = [100.0] * 9 + [0.0], [100.0] * 5 + [0.0] * 5
NONE = TrackingConfig(kind="none", name="none", uri="", artifacts="", experiment="")


def configured(*overrides: str) -> TrialConfig:
    with initialize_config_dir(str(packaged_dir("conf")), version_base="1.3"):
        return parse(compose("config", overrides=["tracking=none", *overrides]))


def study(root: Path, trials: Mapping[int, tuple[str, ...]], *overrides: str, tracking: TrackingConfig = NONE) -> Path:
    """`results/s` under `root` with finished trials, each of its own overrides; trial 0 scores best."""
    folder = root / "results" / "s"
    for number, own in trials.items():
        finish(folder, number, configured(*overrides, *own), GOOD if number == 0 else FAIR)
    config = configured(*overrides).model_copy(update={"tracking": tracking})
    record = {"command": "python -m bai_sweep -m ...", "parent_run_id": None, "config": config.model_dump(mode="json")}
    (folder / "study.json").write_text(json.dumps(record))
    return folder


def finish(folder: Path, number: int, config: TrialConfig, items: list[float], *verdicts: Verdict) -> TrialResult:
    """A trial with the files that promotion reads, its actor merged as trials merge."""
    place = folder / "trials" / str(number)
    (place / "artifacts").mkdir(parents=True, exist_ok=True)
    (place / "artifacts" / "config.yaml").write_text(config_yaml(config))
    actor = identified(initialise(config.model, config.actor), config.model, config.actor)
    alpha = {"alpha": config.alpha}
    result = replace(trial(number, alpha, scores=[score("knowledge", items)], verdicts=verdicts), recipe=actor.recipe)
    result.save(place)
    return result


def changed(folder: Path, number: int, **changes: Any) -> None:
    """Rewrites a result with other fields."""
    place = folder / "trials" / str(number)
    replace(TrialResult.load(place), **changes).save(place)


def request(folder: Path, **changes: Any) -> Request:
    return Request(study=read_study(folder), command="python -m bai_sweep promote study=s", **changes)


@dataclass
class Person:
    """Hears what is said, and answers what is asked."""

    answer: bool = True
    heard: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)

    def say(self, line: str) -> None:
        self.heard.append(line)

    def agree(self, shown: str) -> bool:
        self.asked.append(shown)
        return self.answer
