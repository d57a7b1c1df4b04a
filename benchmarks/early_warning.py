"""How early a study's own trials tell that one will collapse, measured on two real studies of the testbed.

tests/data/collapse_studies.json holds their telemetry and commands: five ratios at four learning rates, where the rate
decides, and eight ratios at one learning rate, where the merge does. A run's fate is whether a detector is certain at
its end. After each number of first steps the warning is learned as a study learns it, and told of each point by the
others (`bai_sweep.stability.Skill`). Then the study is replayed in random orders with docs/stability.md's rule: what
it saves in steps, beside what ending a trial at its first certain verdict saves, and whether it ends a healthy trial.

    python benchmarks/early_warning.py
"""

from __future__ import annotations

import argparse
import json
import random
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import mean
from typing import Any

from common import ROOT

sys.path.insert(0, str(ROOT))

import yaml

from bai_sweep.config import StabilityConfig
from bai_sweep.records import StepTelemetry
from bai_sweep.sources import packaged_dir
from bai_sweep.stability import EarlyWarning, diagnose, learn

DATA = ROOT / "tests" / "data" / "collapse_studies.json"
AFTER = (1, 2, 3, 5, 8, 10)
STEPS, SKILL = 5, 0.3  # of the rule in docs/stability.md
PROBABILITIES = (0.95, 0.9, 0.8)


@dataclass(frozen=True)
class Run:
    """A recorded trial, its fate and the first step after which a detector is certain."""

    point: str
    telemetry: list[StepTelemetry]
    collapsed: bool
    known_at: int | None


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

    def certain(end: int) -> bool:
        return diagnose(steps[:end], config, steps=len(steps)).worst == "certain"

    known_at = next((end for end in range(1, len(steps) + 1) if certain(end)), None)
    return Run(str(trial["params"]), steps, certain(len(steps)), known_at)


def warning(runs: Sequence[Run], after: int) -> EarlyWarning | None:
    """What these runs teach."""
    return learn([r.telemetry for r in runs], [r.collapsed for r in runs], [r.point for r in runs], after=after)


def replay(runs: Sequence[Run], probability: float) -> tuple[int, int]:
    """Steps saved in this order by the rule and, where it is silent, certain verdicts; healthy trials that it ends."""
    known: list[Run] = []
    saved = wrong = 0
    for run in runs:
        told = warning(known, STEPS)
        if told and told.skill.score >= SKILL and told.probability(run.telemetry) >= probability:
            saved += len(run.telemetry) - STEPS
            wrong += not run.collapsed
        else:
            known.append(run)
            saved += saved_by_verdict(run)
    return saved, wrong


def saved_by_verdict(run: Run) -> int:
    """Steps that are not run if a trial ends at its first certain verdict."""
    return len(run.telemetry) - run.known_at if run.known_at else 0


def measured(runs: Sequence[Run], orders: int) -> dict[str, Any]:
    """The skill after each number of steps, and what rules save."""
    skills = {}
    for after in AFTER:
        told = warning(runs, after)
        skills[f"after {after} steps"] = str(told.skill) if told else "too few of either fate"
    draw = random.Random(0)
    shuffled = [draw.sample(runs, len(runs)) for _ in range(orders)]
    steps = sum(len(run.telemetry) for run in runs)
    rules: dict[str, Any] = {"certain verdicts alone": {"saved": round(sum(map(saved_by_verdict, runs)) / steps, 3)}}
    for probability in PROBABILITIES:
        replays = [replay(order, probability) for order in shuffled]
        rules[f"probability {probability}"] = {
            "saved": round(mean(saved for saved, _ in replays) / steps, 3),
            "healthy trials ended": sum(wrong for _, wrong in replays),
            "healthy trials": orders * sum(not run.collapsed for run in runs),
        }
    return {"skill": skills, f"share of steps saved, after {STEPS} steps and skill {SKILL}": rules}


def main() -> None:
    """Prints every trial's fate and one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--orders", type=int, default=50)
    orders = parser.parse_args().orders
    text = (packaged_dir("conf") / "stability" / "default.yaml").read_text(encoding="utf-8")
    config = StabilityConfig.model_validate(yaml.safe_load(text))
    results = {}
    for study in json.loads(DATA.read_text(encoding="utf-8")):
        runs = [recorded(trial, config) for trial in study["trials"]]
        print(study["command"])
        for run in runs:
            print(f"{run.point}: {f'collapses, certain from step {run.known_at}' if run.collapsed else 'stable'}")
        results[study["study"]] = measured(runs, orders)
    print(json.dumps({"name": "early_warning", "results": results}))


if __name__ == "__main__":
    main()
