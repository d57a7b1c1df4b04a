"""Workers that are killed at random, MLflow away for a whole study: nothing is lost, nothing counts twice."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import optuna
import psutil
import pytest
from optuna.trial import FrozenTrial, TrialState

from bai_sweep.search.control import StorageAddress

ROOT = Path(__file__).parents[2]
APP = ROOT / "tests/integration/search/study_app.py"
TINY = (
    *("rl.steps=6", "rl.batch_size=4", "rl.minibatch_size=4", "rl.max_new_tokens=16"),
    *("rl.checkpoint_steps=1", "evaluation=none", "hydra.sweeper.objective=stability/length_ratio"),
    *("stability.length_collapse.baseline=1", "stability.length_collapse.window=1"),
)


def _start(folder: Path, *command: str) -> subprocess.Popen[bytes]:
    environment = {k: v for k, v in os.environ.items() if k != "OMP_NUM_THREADS"} | {"PYTHONPATH": str(ROOT)}
    with (folder / "output.txt").open("ab") as log:
        return subprocess.Popen([sys.executable, *command], cwd=folder, env=environment, stdout=log, stderr=log)


def _kill_at_random(study: subprocess.Popen[bytes], rng: random.Random, *, every: float, times: int) -> int:
    """Kills a worker process every so many seconds, at most so many times; how often it could."""
    killed = 0
    while killed < times and study.poll() is None:
        time.sleep(every * rng.uniform(0.6, 1.4))
        try:
            children = psutil.Process(study.pid).children()
            workers = [child for child in children if any("spawn_main" in part for part in child.cmdline())]
        except psutil.Error:
            continue
        if workers:
            rng.choice(workers).send_signal(signal.SIGKILL)
            killed += 1
    return killed


def _trials(folder: Path, study: str = "s") -> list[FrozenTrial]:
    storage = StorageAddress(folder / "results" / study, None).open()
    return optuna.load_study(study_name=study, storage=storage).trials


def _finished(trials: list[FrozenTrial]) -> Counter[int]:
    ended = (TrialState.COMPLETE, TrialState.PRUNED)
    return Counter(trial.user_attrs["number"] for trial in trials if trial.state in ended)


def test_killed_workers_lose_no_trial(tmp_path: Path) -> None:
    for number in range(12):
        (tmp_path / f"nap-{number}").write_text("0.4")
    command = (str(APP), "-m", "alpha=range(0,0.6,0.05)", "study=s", "workers=2", "hydra.sweeper.max_attempts=2")
    study = _start(tmp_path, *command)
    killed = _kill_at_random(study, random.Random(1), every=1.5, times=4)
    study.wait(timeout=300)
    again = _start(tmp_path, *command, "resume=true")
    assert again.wait(timeout=300) == 0, (tmp_path / "output.txt").read_text()
    assert killed >= 1
    assert _finished(_trials(tmp_path)) == dict.fromkeys(range(12), 1)
    lines = [line.split() for line in (tmp_path / "trace.txt").read_text().splitlines()]
    ended = Counter(int(line[1]) for line in lines if line[0] == "end")
    # One may have ended twice: killed between its last line and its word to the storage, it left no result.json.
    assert set(ended) == set(range(12))


@pytest.mark.slow
def test_thirty_ppo_trials_survive_random_kills_and_go_on_from_their_checkpoints(tmp_path: Path) -> None:
    from mlflow import MlflowClient

    command = (
        *("-m", "bai_sweep", "-m", "alpha=interval(0,1)", "hydra.sweeper.n_trials=30", "study=s", "workers=2"),
        *("tracking.uri=sqlite:///mlflow.db", *TINY),
    )
    study = _start(tmp_path, *command)
    killed = _kill_at_random(study, random.Random(7), every=8.0, times=12)
    study.wait(timeout=1800)
    again = _start(tmp_path, *command, "resume=true")
    assert again.wait(timeout=1800) == 0, (tmp_path / "output.txt").read_text()
    assert killed >= 3

    trials = _trials(tmp_path)
    assert _finished(trials) == dict.fromkeys(range(30), 1)
    lost = {t.user_attrs["number"] for t in trials if t.user_attrs.get("outcome") in ("lost", "exhausted")}
    assert lost, "a kill never met a running trial"
    logs = [(tmp_path / f"results/s/trials/{number}/trial.log").read_text() for number in lost]
    assert any("PPO goes on after step" in log for log in logs)

    client = MlflowClient(f"sqlite:///{tmp_path}/mlflow.db")
    (experiment,) = [e for e in client.search_experiments() if e.name == "bai_sweep"]
    runs = client.search_runs([experiment.experiment_id], "tags.`bai.kind` = 'trial'", max_results=1000)
    assert Counter(int(run.data.tags["bai.trial"]) for run in runs) == dict.fromkeys(range(30), 1)
    assert {run.info.status for run in runs} == {"FINISHED"}
    for number in range(30):
        result = json.loads((tmp_path / f"results/s/trials/{number}/result.json").read_text())
        assert [record["step"] for record in result["telemetry"]] == list(range(1, 7))


@pytest.mark.slow
def test_a_study_without_mlflow_loses_nothing(tmp_path: Path) -> None:
    """The server answers at the start, goes away for the whole study, and gets everything afterwards."""
    import socket

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    serve = ("-m", "mlflow", "server", "--backend-store-uri", f"sqlite:///{tmp_path}/server.db", "--port", str(port))
    server = _start(tmp_path, *serve)
    uri = f"http://127.0.0.1:{port}"
    _until_it_answers(uri)
    command = ("-m", "bai_sweep", "-m", "alpha=0.1,0.5", "study=s", f"tracking.uri={uri}", *TINY)
    study = _start(tmp_path, *command)
    deadline = time.monotonic() + 120
    while not (tmp_path / "results/s/study.json").exists():
        assert time.monotonic() < deadline
        time.sleep(0.1)
    _end(server)
    assert study.wait(timeout=600) == 0, (tmp_path / "output.txt").read_text()
    assert len(list(tmp_path.glob("results/s/trials/*/result.json"))) == 2
    server = _start(tmp_path, *serve)
    _until_it_answers(uri)
    try:
        sync = _start(tmp_path, "-m", "bai_sweep.tracking", "sync", "results/s")
        assert sync.wait(timeout=120) == 0, (tmp_path / "output.txt").read_text()
        from mlflow import MlflowClient

        client = MlflowClient(uri)
        (experiment,) = [e for e in client.search_experiments() if e.name == "bai_sweep"]
        runs = client.search_runs([experiment.experiment_id], "tags.`bai.kind` = 'trial'")
        assert sorted(run.data.tags["bai.trial"] for run in runs) == ["0", "1"]
        assert {run.info.status for run in runs} == {"FINISHED"}
        assert all(len(client.get_metric_history(run.info.run_id, "objective/kl")) == 6 for run in runs)
    finally:
        _end(server)


def _until_it_answers(uri: str) -> None:
    import urllib.error
    import urllib.request

    deadline = time.monotonic() + 120
    while True:
        try:
            urllib.request.urlopen(f"{uri}/health", timeout=5)
        except (urllib.error.URLError, OSError):
            assert time.monotonic() < deadline, "MLflow's server did not start"
            time.sleep(0.5)
        else:
            return


def _end(server: subprocess.Popen[bytes]) -> None:
    for process in [*psutil.Process(server.pid).children(recursive=True), psutil.Process(server.pid)]:
        process.kill()
    server.wait()
