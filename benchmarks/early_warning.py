"""How early a study's own trials tell that one will collapse, measured on two real studies of the testbed.

tests/data/collapse_studies.json holds their telemetry and commands: five ratios at four learning rates, where the rate
decides, and eight ratios at one learning rate, where the ratio does. A run's fate is whether a detector is certain at
its end. After each number of first steps the warning is learned as a study learns it, and told of each point by the
others (`bai_sweep.stability.Skill`). Beside it stand the same model that knows the swept settings and no step of
training, and of the first step alone the skill if all trials of one ratio are left out together.

Then the study is replayed in random orders: the share of steps that is saved by ending trials on which length collapse
is certain three steps running (`detectors: [length_collapse]`, `patience: 3`), by the warning, and by both, and how
many healthy trials the warning ends (each counted in every order).

    python benchmarks/early_warning.py
"""

from __future__ import annotations

import argparse
import json
import math
import random
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import mean
from typing import Any

from common import ROOT

sys.path.insert(0, str(ROOT))

import numpy as np
import yaml

from bai_sweep.config import StabilityConfig
from bai_sweep.records import StepTelemetry
from bai_sweep.sources import packaged_dir
from bai_sweep.stability import EarlyWarning, Skill, diagnose, learn
from bai_sweep.stability._warning import _skill as skill_of

DATA = ROOT / "tests" / "data" / "collapse_studies.json"
AFTER = (1, 2, 3, 5, 8, 10)
STEPS, SKILL = 5, 0.3  # of the rule in docs/stability.md
PROBABILITIES = (0.95, 0.8)
DETECTOR, PATIENCE = "length_collapse", 3


@dataclass(frozen=True)
class Run:
    """A recorded trial: its point, whether a detector is certain at its end, and when the verdict would end it."""

    params: dict[str, Any]
    telemetry: list[StepTelemetry]
    collapsed: bool
    ended_at: int | None

    @property
    def point(self) -> str:
        """What it is a trial of."""
        return str(self.params)


def telemetry(trial: dict[str, Any]) -> list[StepTelemetry]:
    """A recorded trial's steps; a series that ends early has no figure in the later ones."""
    series = trial["telemetry"]
    steps = max(map(len, series.values()))
    return [
        StepTelemetry(k + 1, {n: values[k] for n, values in series.items() if k < len(values)}) for k in range(steps)
    ]


def recorded(trial: dict[str, Any], config: StabilityConfig) -> Run:
    """A trial with what becomes of it."""
    steps = telemetry(trial)
    found = [diagnose(steps[:end], config, steps=len(steps)) for end in range(1, len(steps) + 1)]
    certain = [any(v.detector == DETECTOR and v.level == "certain" for v in one.verdicts) for one in found]
    ends = (end for end in range(PATIENCE, len(steps) + 1) if all(certain[end - PATIENCE : end]))
    return Run(trial["params"], steps, found[-1].worst == "certain", next(ends, None))


class Learned:
    """Warnings of sets of runs; a set that comes again is not learned from again."""

    def __init__(self) -> None:
        self._known: dict[frozenset[str], EarlyWarning | None] = {}

    def of(self, runs: Sequence[Run]) -> EarlyWarning | None:
        """What these runs teach after `STEPS` steps."""
        key = frozenset(run.point for run in runs)
        if key not in self._known:
            ordered = sorted(runs, key=lambda run: run.point)
            self._known[key] = warning(ordered, STEPS)
        return self._known[key]


def warning(runs: Sequence[Run], after: int, points: Sequence[str] | None = None) -> EarlyWarning | None:
    """What runs teach after some steps; `points` are left out together, by default each its own."""
    left_out = points or [run.point for run in runs]
    return learn([run.telemetry for run in runs], [run.collapsed for run in runs], left_out, after=after)


def by_settings(runs: Sequence[Run]) -> Skill:
    """The same model on the swept settings alone; learning rates by their logarithm."""
    rows = [[math.log(v) if "learning_rate" in key else float(v) for key, v in run.params.items()] for run in runs]
    fates = np.array([run.collapsed for run in runs])
    return skill_of(np.array(rows), fates, np.arange(len(runs)))


def replay(runs: Sequence[Run], learned: Learned, probability: float, *, verdicts: bool) -> tuple[int, int]:
    """Steps saved in this order by the warning (and certain verdicts where it is silent); healthy trials that it ends.

    A trial that the warning ends is not learned from, as in a study.
    """
    known: list[Run] = []
    saved = wrong = 0
    for run in runs:
        told = learned.of(known)
        if told and told.skill.score >= SKILL and told.probability(run.telemetry) >= probability:
            saved += len(run.telemetry) - STEPS
            wrong += not run.collapsed
        else:
            known.append(run)
            saved += saved_by_verdict(run) if verdicts else 0
    return saved, wrong


def saved_by_verdict(run: Run) -> int:
    """Steps that are not run if a certain length collapse ends a trial."""
    return len(run.telemetry) - run.ended_at if run.ended_at else 0


def measured(runs: Sequence[Run], orders: int) -> dict[str, Any]:
    """The skill after each number of steps, and what rules save."""
    skills = {"settings alone": str(by_settings(runs))}
    for after in AFTER:
        told = warning(runs, after)
        skills[f"after {after} steps"] = str(told.skill) if told else "too few of either fate"
    grouped = warning(runs, 1, [str(run.params["alpha"]) for run in runs])
    skills["after 1 step, ratios left out whole"] = str(grouped.skill) if grouped else "too few of either fate"
    draw, learned = random.Random(0), Learned()
    shuffled = [draw.sample(runs, len(runs)) for _ in range(orders)]
    steps = sum(len(run.telemetry) for run in runs)
    rules: dict[str, Any] = {f"{DETECTOR} alone": {"saved": round(sum(map(saved_by_verdict, runs)) / steps, 3)}}
    for probability in PROBABILITIES:
        for name, verdicts in (("warning alone", False), (f"warning and {DETECTOR}", True)):
            replays = [replay(order, learned, probability, verdicts=verdicts) for order in shuffled]
            rules[f"{name}, probability {probability}"] = {
                "saved": round(mean(saved for saved, _ in replays) / steps, 3),
                "healthy trials ended": sum(wrong for _, wrong in replays),
            }
    healthy = sum(not run.collapsed for run in runs)
    return {"skill": skills, "share of steps saved": rules, "orders": orders, "healthy trials of each": healthy}


def main() -> None:
    """Prints every trial's fate and one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--orders", type=int, default=20)
    orders = parser.parse_args().orders
    text = (packaged_dir("conf") / "stability" / "default.yaml").read_text(encoding="utf-8")
    config = StabilityConfig.model_validate(yaml.safe_load(text))
    results = {}
    for study in json.loads(DATA.read_text(encoding="utf-8")):
        runs = [recorded(trial, config) for trial in study["trials"]]
        print(study["command"])
        for run in runs:
            fate = "a detector is certain at the end" if run.collapsed else "not certain"
            print(f"{run.point}: {fate}; {DETECTOR} ends it after step {run.ended_at}")
        results[study["study"]] = measured(runs, orders)
    print(json.dumps({"name": "early_warning", "results": results}))


if __name__ == "__main__":
    main()
