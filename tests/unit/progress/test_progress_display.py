"""What a user sees of a study, on a terminal and in a log."""

from __future__ import annotations

import io
import os
import pty
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console

from bai_sweep.progress import Progress, ProgressFile, StudyDisplay, TrialDisplay, _display, _plain, _watch
from bai_sweep.progress._plain import PlainLines
from bai_sweep.progress._table import MOST_ROWS, clock, render
from bai_sweep.progress._watch import Snapshot, Watch


def trial(number: int, **values: object) -> Progress:
    defaults: dict[str, object] = {"started": 0.0, "updated": 10.0, "stage": "ppo", "total": 50}
    return Progress(number, f"alpha=0.{number}", **{**defaults, **values})  # type: ignore[arg-type]


def snapshot(*trials: Progress, total: int | None = 3, elapsed: float = 10.0) -> Snapshot:
    running = tuple(t for t in trials if t.state == "running")
    return Snapshot(running, tuple(t for t in trials if t.state != "running"), total, elapsed, {})


def shown(view: Snapshot, width: int = 100, heading: bool = True) -> str:
    console = Console(file=io.StringIO(), width=width)
    console.print(render("demo", view, heading))
    return console.file.getvalue()  # type: ignore[attr-defined, no-any-return]


def plain(width: int = 100) -> Console:
    return Console(file=io.StringIO(), width=width)


def lines_of(console: Console) -> list[str]:
    return console.file.getvalue().splitlines()  # type: ignore[attr-defined, no-any-return]


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_display, "POLL", 0.02)


@pytest.mark.parametrize(("seconds", "text"), [(7.4, "0:07"), (59.6, "1:00"), (754, "12:34"), (3723, "1:02:03")])
def test_clock(seconds: float, text: str) -> None:
    assert clock(seconds) == text


def test_eta_of_a_study_from_its_finished_trials() -> None:
    over = trial(0, state="done", updated=60.0), trial(1, state="failed", updated=1.0)
    # 7 trials wait at 60 s each and the two that run have 40 s and 50 s to go, two at a time
    view = snapshot(*over, trial(2, updated=20.0), trial(3, updated=10.0), total=11)
    assert view.eta == ((7 * 60 + 40 + 50) / 2, False)


def test_eta_before_any_trial_finished_is_a_lower_bound() -> None:
    view = snapshot(trial(0, updated=30.0, stage_started=10.0, done=10))  # 80 s of its stage to come
    assert view.eta == (2 * 110 + 80, True)
    assert "ETA >5:00" in shown(view)


def test_no_eta_where_nothing_is_known() -> None:
    assert snapshot(trial(0)).eta is None
    assert snapshot(trial(0, state="done"), total=None).eta is None


def test_the_table_has_a_line_for_the_study_and_a_row_per_running_trial() -> None:
    view = snapshot(
        trial(0, state="done"), trial(1, state="failed"), trial(2, done=12, note="reward [red]+0.30 KL 1.2")
    )
    text = shown(view, width=120).splitlines()
    assert text[0].startswith("study demo  1 done, 1 running, 1 failed of 3  elapsed 0:10  ETA")
    assert all(part in text[1] for part in ("2", "alpha=0.2", "ppo", "12/50", "reward [red]+0.30 KL 1.2"))
    assert len(text) == 2
    assert "study" not in shown(view, heading=False)


def test_many_trials_do_not_fill_the_screen() -> None:
    view = snapshot(*(trial(n) for n in range(MOST_ROWS + 4)))
    text = shown(view).splitlines()
    assert len(text) == MOST_ROWS + 2
    assert text[-1] == "and 4 more trials running"


def test_plain_lines_say_each_stage_and_end_once(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = PlainLines("demo", True, earlier=snapshot(trial(0, state="done")))
    first = trial(1, done=12, note="KL 1.2", stage_started=4.0)
    before = trial(0, state="done")
    assert list(lines.news(snapshot(before, first))) == [
        "trial 1 alpha=0.1: ppo 12/50  KL 1.2  ETA 0:19",
        "study demo: 1 done, 1 running, 0 failed of 3  elapsed 0:10  ETA 0:10",
    ]
    assert list(lines.news(snapshot(before, trial(1, done=13)))) == []
    monkeypatch.setattr(_plain, "HEARTBEAT", 0.0)
    assert list(lines.news(snapshot(before, trial(1, done=13)))) == ["trial 1 alpha=0.1: ppo 13/50  ETA 0:28"]
    over = list(lines.news(snapshot(before, trial(1, state="failed", updated=70.0))))
    assert over[0] == "trial 1 alpha=0.1: failed in 1:10"
    assert over[1].startswith("study demo: 1 done, 0 running, 1 failed")
    assert list(lines.news(snapshot(before, trial(1, state="failed", updated=70.0)))) == []
    again = list(lines.news(snapshot(before, trial(1, started=100.0, updated=101.0))))
    assert again == ["trial 1 alpha=0.1: ppo"]


def test_trials_an_earlier_session_left_do_not_run(tmp_path: Path) -> None:
    ProgressFile(tmp_path / "trials" / "0", 0, "killed")
    ProgressFile(tmp_path / "trials" / "1", 1, "finished").finish()
    watch = Watch(tmp_path, 3)
    assert watch.look().running == ()
    assert watch.look().done == 1
    ProgressFile(tmp_path / "trials" / "0", 0, "again")
    assert [t.name for t in watch.look().running] == ["again"]


def test_a_silent_trial_is_pointed_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    watch = Watch(tmp_path, 1)
    file = ProgressFile(tmp_path / "trials" / "0", 0, "t")
    assert watch.look().silent == {}
    monkeypatch.setattr(_watch, "SILENT", 0.05)
    time.sleep(0.1)
    assert "silent for 0:00" in shown(watch.look())
    file.stage("next")
    assert watch.look().silent == {}


def test_a_display_follows_the_files(tmp_path: Path) -> None:
    console = plain()
    with StudyDisplay(tmp_path, "demo", 2, console):
        for number in range(2):
            file = ProgressFile(tmp_path / "trials" / str(number), number, f"alpha=0.{number}")
            file.stage("ppo", 5)
            until(lambda n=number: any(f"trial {n} alpha=0.{n}: ppo" in line for line in lines_of(console)))  # type: ignore[misc]
            file.finish()
    text = lines_of(console)
    assert [line for line in text if "done in" in line] == [f"trial {n} alpha=0.{n}: done in 0:00" for n in range(2)]
    assert text[-1].startswith("study demo: 2 done, 0 running, 0 failed of 2")
    assert "\x1b" not in "".join(text)


def test_a_single_trial_has_no_study_line(tmp_path: Path) -> None:
    console = plain()
    with TrialDisplay(tmp_path, console):
        file = ProgressFile(tmp_path, 0, "alpha=0.5")
        file.stage("merge")
        file.finish()
    assert lines_of(console) == ["trial 0 alpha=0.5: done in 0:00"]


def test_exceptions_pass_through(tmp_path: Path) -> None:
    error = ValueError("mine")
    with pytest.raises(ValueError, match="mine") as raised, StudyDisplay(tmp_path, "demo", 1, plain()):
        raise error
    assert raised.value is error


def test_a_broken_display_lets_the_study_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(_: Watch) -> Snapshot:
        raise RuntimeError("no display today")

    display = StudyDisplay(tmp_path, "demo", 1, plain())
    monkeypatch.setattr(Watch, "look", broken)
    reached = False
    with display:
        until(lambda: "the study goes on" in caplog.text)
        reached = True
    assert reached
    assert "no display today" in caplog.text


PROGRAM = """
import sys, time
from pathlib import Path
from bai_sweep.progress import ProgressFile, StudyDisplay
folder = Path(sys.argv[1])
with StudyDisplay(folder, "demo", 2):
    file = ProgressFile(folder / "trials" / "0", 0, "alpha=0.5")
    file.stage("ppo", 100)
    for step in range(100):
        file.advance(step, "note")
        time.sleep(0.1)
"""


def test_ctrl_c_gives_the_terminal_back(tmp_path: Path) -> None:
    main, terminal = pty.openpty()
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "100"}
    environment = {key: value for key, value in environment.items() if key not in ("NO_COLOR", "CI")}
    child = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(tmp_path)],
        stdin=terminal, stdout=terminal, stderr=terminal, env=environment,
    )  # fmt: skip
    os.close(terminal)
    output = b""
    while b"alpha=0.5" not in output:
        output += os.read(main, 4096)
    child.send_signal(signal.SIGINT)
    while True:
        try:
            part = os.read(main, 4096)
        except OSError:  # the child has closed its terminal
            break
        if not part:
            break
        output += part
    os.close(main)
    assert child.wait(10) in (1, 130, -signal.SIGINT)
    hidden, shown_again = output.rfind(b"\x1b[?25l"), output.rfind(b"\x1b[?25h")
    assert 0 <= hidden < shown_again
    assert b"KeyboardInterrupt" in output[shown_again:]
