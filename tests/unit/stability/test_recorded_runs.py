"""Detectors and early warning on what real runs of the testbed recorded (tests/data, with their commands)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from bai_sweep.config import StabilityConfig
from bai_sweep.records import StepTelemetry, Verdict
from bai_sweep.sources import packaged_dir
from bai_sweep.stability import Skill, diagnose, learn

DATA = Path(__file__).parents[2] / "data"


def studies(name: str) -> dict[str, list[dict[str, Any]]]:
    """A file's trials by study."""
    return {study["study"]: study["trials"] for study in json.loads((DATA / name).read_text(encoding="utf-8"))}


STUDIES = studies("recorded_runs.json")
COLLAPSES = studies("collapse_studies.json")
CONFIG = StabilityConfig.model_validate(
    yaml.safe_load((packaged_dir("conf") / "stability" / "default.yaml").read_text(encoding="utf-8"))
)


def steps(trial: dict[str, Any]) -> list[StepTelemetry]:
    columns = trial["telemetry"]  # what is of the merge alone has the first step's figure only
    return [
        StepTelemetry(step + 1, {name: values[step] for name, values in columns.items() if step < len(values)})
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


RATE = "rl.actor_learning_rate"
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


def told(trials: list[dict[str, Any]], after: int, *, apart: str | None = None) -> Skill:
    """How well the trials tell of each other; those that are alike in `apart` are left out together."""
    runs = [steps(trial) for trial in trials]
    fates = [diagnose(run, CONFIG, steps=len(run)).worst == "certain" for run in runs]
    warning = learn(runs, fates, [str(trial["params"].get(apart, trial["params"])) for trial in trials], after=after)
    assert warning is not None
    return warning.skill


def test_learning_rates_of_six_times_and_more_collapse_at_every_ratio() -> None:
    fates = {
        (t["params"]["alpha"], t["params"][RATE]): verdicts(t)["length_collapse"].level for t in COLLAPSES["rates"]
    }

    assert len(fates) == 20
    assert {rate for (_, rate), level in fates.items() if level == "certain"} == {6e-4, 1e-3}
    assert {rate for (_, rate), level in fates.items() if level != "certain"} == {1e-4, 3e-4}


def test_between_them_the_ratio_decides() -> None:
    levels = {trial["params"]["alpha"]: verdicts(trial)["length_collapse"].level for trial in COLLAPSES["ratios"]}

    assert [alpha for alpha, level in levels.items() if level == "certain"] == [0.7, 0.8, 0.9, 1]
    assert [alpha for alpha, level in levels.items() if level == "suspected"] == [0.6]
    assert [alpha for alpha, level in levels.items() if level == "none"] == [0, 0.2, 0.4]


def test_five_steps_tell_who_will_collapse() -> None:
    skill = told(COLLAPSES["rates"], after=5)

    assert (skill.trials, skill.collapsed) == (20, 10)
    assert skill.score > 0.7
    assert skill.auc > 0.95
    assert told(COLLAPSES["ratios"], after=5).score > 0.4


def test_the_merge_alone_tells_it_where_the_ratio_decides_and_not_where_the_learning_rate_does() -> None:
    assert told(COLLAPSES["ratios"], after=1).score > 0.3
    nothing = told(COLLAPSES["rates"], after=1, apart="alpha")
    assert nothing.score == pytest.approx(0.0, abs=0.05)
    assert nothing.auc == pytest.approx(0.5, abs=0.05)
