"""The main job on the embedded family, small: run, killed and resumed, and the same numbers both times."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import mlflow
import pytest
from mlflow.entities import Run

ALPHAS = (0.1, 0.5, 0.9)
SMALL = [
    "rl.steps=4",
    "rl.batch_size=8",
    "rl.minibatch_size=4",
    "rl.max_new_tokens=48",
    "evaluation.max_new_tokens=48",
    *(f"evaluation.benchmarks.{name}.limit=8" for name in ("knowledge", "arithmetic", "arena")),
]
COMMAND = [sys.executable, "-m", "bai_sweep", "-m", f"alpha={','.join(map(str, ALPHAS))}", *SMALL]


def start(folder: Path, *more: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*COMMAND, *more],
        cwd=folder,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )


def results(folder: Path) -> dict[int, dict[str, Any]]:
    files = sorted((folder / "results" / "default" / "trials").glob("*/result.json"))
    return {int(file.parent.name): json.loads(file.read_text()) for file in files}


def untimed(result: dict[str, Any]) -> list[dict[str, float]]:
    """The telemetry without what measures the machine."""
    machine = ("seconds/", "tokens_per_second/", "memory/")
    return [{k: v for k, v in step["metrics"].items() if not k.startswith(machine)} for step in result["telemetry"]]


def wait_until(condition: Any, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.02)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A sweep that nobody disturbed, and what it printed."""
    folder = tmp_path_factory.mktemp("whole")
    process = start(folder)
    output, _ = process.communicate(timeout=300)
    assert process.returncode == 0, output
    return folder, output


@pytest.fixture(scope="module")
def resumed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, float]]:
    """The same sweep, killed with -9 in its second trial and resumed; and when trial 0 had finished."""
    folder = tmp_path_factory.mktemp("resumed")
    process = start(folder)
    journal = folder / "results" / "default" / "trials" / "1" / "journal.jsonl"
    wait_until(lambda: journal.is_file() and '"objective/kl"' in journal.read_text(), 240)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    finished = {str(n): (folder / f"results/default/trials/{n}/result.json").stat().st_mtime for n in results(folder)}

    process = start(folder, "resume=true")
    output, _ = process.communicate(timeout=300)
    assert process.returncode == 0, output
    return folder, finished


def runs_of(folder: Path) -> tuple[list[Run], list[Run]]:
    client = mlflow.MlflowClient(f"sqlite:///{folder / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("bai_sweep")
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id])
    children = [run for run in runs if "mlflow.parentRunId" in run.data.tags]
    parents = [run for run in runs if "mlflow.parentRunId" not in run.data.tags]
    return parents, sorted(children, key=lambda run: float(run.data.params["alpha"]))


def test_three_actors_are_merged_trained_scored_and_compared(whole: tuple[Path, str]) -> None:
    folder, output = whole

    done = results(folder)
    assert [done[n]["params"] for n in sorted(done)] == [{"alpha": alpha} for alpha in ALPHAS]
    for alpha, result in zip(ALPHAS, done.values(), strict=True):
        assert result["recipe"]["weights"]["base"] == alpha
        assert [step["step"] for step in result["telemetry"]] == [1, 2, 3, 4]
        assert {score["benchmark"] for score in result["report"]["scores"]} == {"knowledge", "arithmetic", "arena"}
    telemetry = [untimed(result) for result in done.values()]
    assert telemetry[0] != telemetry[1] != telemetry[2], "different ratios must train differently"
    assert (folder / "results/default/report.html").stat().st_size > 1_000_000
    assert "overall" in output
    assert "report.html" in output


def test_mlflow_holds_a_parent_and_three_complete_children(whole: tuple[Path, str]) -> None:
    folder, _ = whole
    client = mlflow.MlflowClient(f"sqlite:///{folder / 'mlflow.db'}")

    parents, children = runs_of(folder)

    assert len(parents) == 1
    assert [float(run.data.params["alpha"]) for run in children] == list(ALPHAS)
    for run in children:
        assert run.info.status == "FINISHED"
        assert run.data.tags["mlflow.parentRunId"] == parents[0].info.run_id
        assert run.data.params.keys() >= {
            "alpha",
            "weights.instruct",
            "seed",
            "study",
            "resume",
            "workers",
            "rl.kl_coef",
        }
        assert run.data.metrics.keys() >= {"eval/overall", "eval/knowledge", "objective/final_kl"}
        assert run.data.tags.keys() >= {"verdict", "verdict.length_collapse", "verdict.reward_hockey_stick"}
        history = client.get_metric_history(run.info.run_id, "completions/mean_length")
        assert [metric.step for metric in history] == [1, 2, 3, 4]
        artifacts = {file.path for file in client.list_artifacts(run.info.run_id)}
        assert artifacts >= {"config.yaml", "environment.json", "scores.json", "verdicts.json", "curves.png"}
    study_files = {file.path for file in client.list_artifacts(parents[0].info.run_id)}
    assert study_files >= {"report.html", "report.md", "curves.png"}


def test_killed_and_resumed_loses_nothing_and_repeats_nothing(resumed: tuple[Path, dict[str, float]]) -> None:
    folder, finished = resumed

    assert sorted(results(folder)) == [0, 1, 2]
    assert finished.keys() == {"0"}, "the kill came in the second trial"
    assert (folder / "results/default/trials/0/result.json").stat().st_mtime == finished["0"], "trial 0 ran again"
    parents, children = runs_of(folder)
    assert len(parents) == 1
    assert [run.info.status for run in children] == ["FINISHED"] * 3


def test_the_same_seed_gives_the_same_numbers(whole: tuple[Path, str], resumed: tuple[Path, dict[str, float]]) -> None:
    first, second = results(whole[0]), results(resumed[0])

    for number in first:
        assert untimed(first[number]) == untimed(second[number])
        assert first[number]["report"] == second[number]["report"]


def test_paradigms_with_and_without_rl_stand_in_one_study(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "bai_sweep", "-m", "actor=paradigm2,bai", "study=t1", "tracking=none"]
    small = [
        "model.ppo.steps=2",
        "model.ppo.batch_size=4",
        "model.ppo.minibatch_size=2",
        "model.ppo.max_new_tokens=24",
    ]
    limits = [item for item in SMALL if item.startswith("evaluation.")]

    done = subprocess.run([*command, *small, *limits], cwd=tmp_path, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr
    assert "paradigm2" in done.stdout
    assert (tmp_path / "results/t1/report.html").is_file()
