"""From a finished study to a model in production, and back; and the command on the model's card."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import mlflow
import pytest

SMALL = [
    "rl=none",
    "~evaluation.benchmarks.arena",
    "evaluation.benchmarks.knowledge.limit=6",
    "evaluation.benchmarks.arithmetic.limit=4",
    "evaluation.max_new_tokens=32",
]


def run(folder: Path, *arguments: str, module: str = "bai_sweep") -> str:
    command = [sys.executable, "-m", module, *arguments]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("promote")
    run(folder, "-m", "alpha=0.3,0.7", *SMALL)
    return folder


def aliases(folder: Path) -> dict[str, str]:
    client = mlflow.MlflowClient(f"sqlite:///{folder / 'mlflow.db'}")
    return {alias: str(number) for alias, number in client.get_registered_model("bai-testbed").aliases.items()}


def manifest(folder: Path, number: int) -> dict[str, Any]:
    path = folder / f"results/default/promoted/default-trial-{number}/merge.json"
    found: dict[str, Any] = json.loads(path.read_text())
    return found


def test_candidate_production_and_back(finished: Path) -> None:
    client = mlflow.MlflowClient(f"sqlite:///{finished / 'mlflow.db'}")

    said = run(finished, "promote", "study=default", "trial=0")
    assert "version  1 of bai-testbed, candidate" in said
    assert aliases(finished) == {"candidate": "1"}
    run(finished, "promote", "trial=0", "to=production", "yes=true")  # the study begun last
    replaced = run(finished, "promote", "study=default", "trial=1", "--to", "production", "yes=true")
    assert "now  version 1: 0.3*base + 0.35*instruct + 0.35*distilled" in replaced
    assert aliases(finished) == {"candidate": "1", "production": "2"}
    back = run(finished, "rollback", "study=default", "yes=true")

    assert "back  version 1" in back
    assert aliases(finished) == {"candidate": "1", "production": "1"}
    for number in (0, 1):
        result = json.loads((finished / f"results/default/trials/{number}/result.json").read_text())
        version = client.get_model_version("bai-testbed", str(number + 1))
        assert version.run_id == result["run_id"]
        assert (
            version.tags["actor.sha256"] == result["recipe"]["digest"] == manifest(finished, number)["actor"]["sha256"]
        )
        # the second trial's actor was merged from memory, the folder from files
        assert manifest(finished, number)["actor"]["checked"].endswith("bit for bit")


def test_the_cards_command_gives_the_trials_scores(finished: Path) -> None:
    run(finished, "promote", "study=default", "trial=1", "tracking=none")
    command = shlex.split(manifest(finished, 1)["promotion"]["scores_command"])
    assert command[:3] == ["python", "-m", "bai_sweep.evaluation"]
    card = (finished / "results/default/promoted/default-trial-1/README.md").read_text()
    assert shlex.join(command) in card

    run(finished, *command[3:], "out=again", f"evaluation.cache_dir={finished}/empty", module=command[2])

    again = json.loads((finished / "again/report.json").read_text())
    result = json.loads((finished / "results/default/trials/1/result.json").read_text())
    scores = {score["benchmark"]: (score["value"], score["n"]) for score in result["report"]["scores"]}
    assert {score["benchmark"]: (score["value"], score["n"]) for score in again["scores"]} == scores
    assert {n for _, n in scores.values()} == {6, 4}
