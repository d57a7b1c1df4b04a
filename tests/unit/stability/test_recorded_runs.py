"""The detectors on what real runs of the testbed recorded (tests/data/recorded_runs.json has their commands)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from bai_sweep.config import StabilityConfig
from bai_sweep.records import StepTelemetry, Verdict
from bai_sweep.sources import packaged_dir
from bai_sweep.stability import METRICS, diagnose

STUDIES: dict[str, list[dict[str, Any]]] = {
    study["study"]: study["trials"]
    for study in json.loads((Path(__file__).parents[2] / "data" / "recorded_runs.json").read_text(encoding="utf-8"))
}
CONFIG = StabilityConfig.model_validate(
    yaml.safe_load((packaged_dir("conf") / "stability" / "default.yaml").read_text(encoding="utf-8"))
)


def steps(trial: dict[str, Any]) -> list[StepTelemetry]:
    columns = trial["telemetry"]
    return [
        StepTelemetry(step + 1, {metric: columns[metric][step] for metric in METRICS.values()})
        for step in range(len(columns["objective/kl"]))
    ]


def alarms(trial: dict[str, Any], level: str) -> dict[str, int]:
    """The first step after which each detector says this."""
    run, found = steps(trial), {}
    for end in range(1, len(run) + 1):
        for verdict in diagnose(run[:end], CONFIG, steps=len(run)).verdicts:
            if verdict.level == level:
                found.setdefault(verdict.detector, end)
    return found


def verdicts(trial: dict[str, Any]) -> dict[str, Verdict]:
    return {v.detector: v for v in diagnose(steps(trial), CONFIG).verdicts}


def label(study: str, index: int) -> str:
    return f"{study}-{index}"


HEALTHY = [(study, k) for study in ("surface", "paradigms", "short_is_better") for k in range(len(STUDIES[study]))]


def test_all_kinds_of_runs_are_there() -> None:
    assert {study: len(trials) for study, trials in STUDIES.items()} == {
        "surface": 22,
        "paradigms": 4,
        "fast_learning": 2,
        "short_is_better": 2,
        "no_kl": 1,
    }


@pytest.mark.parametrize(("study", "index"), HEALTHY, ids=[label(*place) for place in HEALTHY])
def test_healthy_runs_are_never_called_certain_at_any_step(study: str, index: int) -> None:
    """Merges at eleven ratios, the SFT models themselves, and a reward that pays for short responses."""
    trial = STUDIES[study][index]

    assert alarms(trial, "certain") == {}
    # a critic of little use, at the end of one run of paradigm 1, is all that is ever suspected
    assert set(alarms(trial, "suspected")) <= ({"critic_failure"} if study == "paradigms" else set())


def test_a_learning_rate_of_ten_times_collapses_lengths() -> None:
    trial = STUDIES["fast_learning"][0]

    assert verdicts(trial)["length_collapse"].level == "certain"
    assert alarms(trial, "suspected")["length_collapse"] == 10
    assert alarms(trial, "certain")["length_collapse"] == 18
    assert verdicts(trial)["length_collapse"].severity > 0.5
    assert verdicts(trial)["reward_hockey_stick"].level == "certain"


def test_a_learning_rate_of_thirty_times_leaves_one_token() -> None:
    trial = STUDIES["fast_learning"][1]

    found = {name: v.level for name, v in verdicts(trial).items() if v.level != "none"}
    assert found == {"length_collapse": "certain", "kl_blow_up": "certain", "entropy_collapse": "certain"}
    assert alarms(trial, "certain") == {"kl_blow_up": 3, "length_collapse": 17, "entropy_collapse": 23}


def test_without_a_kl_penalty_responses_run_into_their_limit() -> None:
    trial = STUDIES["no_kl"][0]

    found = {name: v.level for name, v in verdicts(trial).items() if v.level != "none"}
    assert found == {"kl_blow_up": "certain", "truncation_runaway": "suspected", "critic_failure": "certain"}
    assert alarms(trial, "certain")["kl_blow_up"] == 11
