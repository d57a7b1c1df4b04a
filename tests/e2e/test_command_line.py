"""The command line as a user meets it, each command a process of its own in an empty folder."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

HEAVY = ("torch", "transformers", "mlflow", "lm_eval", "optuna", "matplotlib", "plotly", "pandas")


def bai_sweep(folder: Path, *arguments: str, timeout: float = 120) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "bai_sweep", *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["alpha=1.5"], "alpha: Input should be less than or equal to 1 (got 1.5)"),
        (["actor=nope"], "Could not find 'actor/nope'"),
        (["model.base=/does/not/exist"], "no such folder: '/does/not/exist'"),
        (["-m", "alpha=0.1,1.5"], "less than or equal to 1"),
        (["-m", "alpha=0.1", "model.base=/does/not/exist"], "no such folder: '/does/not/exist'"),
        (["-m", "alpha=interval(0,1)"], "n_trials"),
    ],
)
def test_bad_input_is_one_clear_message_and_nothing_is_written(
    tmp_path: Path, arguments: list[str], message: str
) -> None:
    done = bai_sweep(tmp_path, *arguments)

    assert done.returncode != 0
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and path.suffix != ".log"]


@pytest.mark.parametrize("arguments", [["--help"], ["--cfg", "job"], ["alpha=1.5"], ["-m", "alpha=2,3"]])
def test_quick_answers_import_nothing_heavy(tmp_path: Path, arguments: list[str]) -> None:
    code = (
        "import atexit, sys; from bai_sweep.__main__ import main;"
        f"atexit.register(lambda: print('HEAVY', [m for m in {HEAVY!r} if m in sys.modules]));"
        f"sys.argv = ['bai_sweep', *{arguments!r}]; main()"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)

    assert "HEAVY []" in done.stdout, done.stdout + done.stderr


def test_a_users_config_dir_comes_first(tmp_path: Path) -> None:
    (tmp_path / "mine" / "model").mkdir(parents=True)
    packaged = bai_sweep(tmp_path, "--cfg", "job", "--package", "model").stdout
    (tmp_path / "mine" / "model" / "testbed.yaml").write_text(packaged.replace("name: testbed", "name: mine"))

    done = bai_sweep(tmp_path, "--config-dir", "mine", "--cfg", "job", "--package", "model")

    assert "name: mine" in done.stdout
    assert "name: testbed" in packaged


def test_a_plan_is_told_and_leaves_nothing(tmp_path: Path) -> None:
    done = bai_sweep(tmp_path, "plan", "alpha=0.1,0.5", "seeds=3", "rl.steps=7", "workers=2", "calibrate=0", "rl=ppo")

    assert done.returncode == 0, done.stderr
    assert "6 trials: 2 points x 3 seeds, 2 at a time" in done.stdout
    assert re.search(r"PPO steps +42 ", done.stdout)
    assert "nothing to replay" in " ".join(done.stdout.split())
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["plan", "alpha=0.1,1.5"], "less than or equal to 1"),
        (["plan", "alpha=interval(0,1)"], "n_trials"),
        (["status"], "results holds no study; give results_dir="),
        (["stop", "study"], "arguments are key=value with a key of study, results_dir, storage, undo; got 'study'"),
        (["worker", "study=s", "storage=postgresql://me:secret@127.0.0.1:1/x"], "cannot be reached"),
    ],
)
def test_commands_refuse_what_is_not_there(tmp_path: Path, arguments: list[str], message: str) -> None:
    done = bai_sweep(tmp_path, *arguments)

    assert done.returncode == 2, done.stdout + done.stderr
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert "secret" not in done.stdout + done.stderr
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and path.suffix != ".log"]
