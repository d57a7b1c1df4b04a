"""Studies in real processes that are killed, stopped and resumed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from bai_sweep.search._supervisor import STOP_SECONDS

ROOT = Path(__file__).parents[3]
APP = Path(__file__).with_name("study_app.py")
THREE = "alpha=0.1,0.5,0.9"


class App:
    """The application of study_app.py in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._started: list[subprocess.Popen[str]] = []

    def start(self, *overrides: str) -> subprocess.Popen[str]:
        return self.start_command("-m", *overrides)

    def command(self, *arguments: str, code: int = 0) -> str:
        process = self.start_command(*arguments)
        output, _ = process.communicate(timeout=180)
        assert process.returncode == code, output
        return output

    def start_command(self, *arguments: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, str(APP), *arguments],
            cwd=self.folder,
            env={k: v for k, v in os.environ.items() if k != "OMP_NUM_THREADS"} | {"PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self._started.append(process)
        return process

    def run(self, *overrides: str, code: int = 0) -> str:
        return self.command("-m", *overrides, code=code)

    def trace(self, kind: str = "") -> list[list[str]]:
        path = self.folder / "trace.txt"
        lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
        return [line.split() for line in lines if line.startswith(kind)]

    def numbers(self, kind: str) -> Counter[int]:
        return Counter(int(line[1]) for line in self.trace(kind))

    def hold(self, number: int) -> None:
        (self.folder / f"hold-{number}").touch()

    def release(self, number: int) -> None:
        (self.folder / f"hold-{number}").unlink()

    def stop_all(self) -> None:
        for process in self._started:
            process.kill()
            process.communicate()


def wait_until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.05)


@pytest.fixture
def app(tmp_path: Path) -> Iterator[App]:
    app = App(tmp_path)
    yield app
    app.stop_all()


def test_killed_study_is_resumed_at_once_and_repeats_nothing(app: App) -> None:
    app.hold(1)
    process = app.start(THREE)
    wait_until(lambda: app.numbers("start")[1])
    process.kill()
    process.wait()
    app.release(1)
    begun = time.monotonic()
    assert "study default: going on" in app.run(THREE, "resume=true")
    assert time.monotonic() - begun < 30  # the lease of 60 s was not waited for
    assert app.numbers("start") == {0: 1, 1: 2, 2: 1}
    assert [line[1:2] + line[3:] for line in app.trace("end")] == [
        ["0", "alpha=0.1"],
        ["1", "alpha=0.5"],
        ["2", "alpha=0.9"],
    ]


def test_killed_worker_is_replaced_and_its_trial_runs_again(app: App) -> None:
    (app.folder / "die-1").touch()
    output = app.run("alpha=0.1,0.3,0.5,0.9", "workers=2", "threads=3")
    assert "died (signal 9" in output
    assert "a new one takes its place" in output
    assert app.numbers("end") == {0: 1, 1: 1, 2: 1, 3: 1}
    assert app.numbers("start")[1] == 2
    assert {line[3] for line in app.trace("start")} == {"3"}
    assert len({line[2] for line in app.trace("start")}) >= 2


def test_nobody_waits_for_a_straggler(app: App) -> None:
    app.hold(0)
    process = app.start("alpha=0.1,0.3,0.5,0.7,0.9", "workers=2")
    wait_until(lambda: len(app.numbers("end")) == 4)  # one worker waits in trial 0, the other does all the rest
    assert app.numbers("end")[0] == 0
    app.release(0)
    output, _ = process.communicate(timeout=180)
    assert process.returncode == 0, output
    assert app.numbers("end") == dict.fromkeys(range(5), 1)


def test_trial_that_used_up_its_attempts_gets_new_ones_on_resume(app: App) -> None:
    (app.folder / "die-1").touch()
    app.run(THREE, "hydra.sweeper.max_attempts=1", code=-signal.SIGKILL)
    (app.folder / "die-1").unlink()
    app.run(THREE, "hydra.sweeper.max_attempts=1", "resume=true")
    assert app.numbers("end") == {0: 1, 1: 1, 2: 1}
    assert not list(app.folder.glob("results/default/trials/*/failure.txt"))


def test_trial_whose_worker_died_after_its_result_is_not_given_up(app: App) -> None:
    (app.folder / "die-1").touch()
    (app.folder / "result-1").touch()
    app.run("alpha=0.1,0.5", "workers=2", "hydra.sweeper.max_attempts=1")
    assert app.numbers("end") == {0: 1, 1: 1}


@pytest.mark.slow
def test_worker_processes_do_not_outlive_a_killed_study(app: App) -> None:
    app.hold(0)
    app.hold(1)
    process = app.start(THREE, "workers=2")
    wait_until(lambda: len(app.trace("start")) == 2)
    workers = [int(line[2]) for line in app.trace("start")]
    process.kill()
    process.wait()
    wait_until(lambda: not any(psutil.pid_exists(pid) for pid in workers))
    app.release(0)
    app.release(1)
    app.run(THREE, "resume=true", "workers=1")
    assert app.numbers("end") == {0: 1, 1: 1, 2: 1}


@pytest.mark.parametrize(
    ("workers", "kind"),
    [
        (1, signal.SIGINT),
        pytest.param(1, signal.SIGTERM, marks=pytest.mark.slow),
        pytest.param(2, signal.SIGINT, marks=pytest.mark.slow),
        pytest.param(2, signal.SIGTERM, marks=pytest.mark.slow),
    ],
)
def test_interrupted_study_says_how_to_go_on(app: App, workers: int, kind: signal.Signals) -> None:
    app.hold(workers - 1)
    process = app.start(THREE, f"workers={workers}")
    wait_until(lambda: app.numbers("start")[workers - 1])
    process.send_signal(kind)
    output, _ = process.communicate(timeout=180)
    assert process.returncode == 130
    assert "resume=true goes on" in output
    assert "Traceback" not in output
    assert app.trace("interrupted")
    assert not app.trace("concluded")
    app.release(workers - 1)
    app.run(THREE, "resume=true", f"workers={workers}")
    assert app.numbers("end") == {0: 1, 1: 1, 2: 1}


@pytest.mark.parametrize("workers", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_a_trial_that_reaches_no_safe_point_is_stopped_by_the_second_ctrl_c(app: App, workers: int) -> None:
    app.hold(0)
    (app.folder / "stuck-0").touch()
    if workers == 2:
        app.hold(1)  # which reaches its safe points
    process = app.start(THREE, f"workers={workers}")
    wait_until(lambda: len(app.trace("start")) == workers)
    process.send_signal(signal.SIGINT)
    time.sleep(1.0)
    assert process.poll() is None
    begun = time.monotonic()
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=30)
    assert time.monotonic() - begun < STOP_SECONDS  # no worker had to be killed
    assert process.returncode == 130
    assert "stopping: the running trials finish their step" in output
    assert "Traceback" not in output
    assert len(app.trace("start")) == workers  # nothing began after the first
    assert not app.trace("end")
    (app.folder / "stuck-0").unlink()
    for number in range(workers):
        app.release(number)
    app.run(THREE, "resume=true")
    assert app.numbers("end") == {0: 1, 1: 1, 2: 1}


@pytest.mark.slow
def test_workers_run_through_another_launcher(app: App) -> None:
    pytest.importorskip("hydra_plugins.hydra_joblib_launcher")
    app.hold(0)
    process = app.start(THREE, "workers=2", "hydra/launcher=joblib", "actor=bai,stage1")
    wait_until(lambda: app.numbers("end")[5])  # one worker waits in trial 0, the other does all the rest
    app.release(0)
    output, _ = process.communicate(timeout=180)
    assert process.returncode == 0, output
    assert app.numbers("end") == dict.fromkeys(range(6), 1)
    assert len({line[2] for line in app.trace("start")}) == 2
    assert (app.folder / "results/default/trials/5/.hydra/overrides.yaml").is_file()
