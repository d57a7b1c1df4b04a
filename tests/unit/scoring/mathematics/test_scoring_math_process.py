"""The process that compares expressions: limited, replaced when it dies, shared by threads, never left behind."""

import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest

from bai_sweep.records import UserError
from bai_sweep.scoring._companion import Companion
from bai_sweep.scoring.mathematics import _process, _worker, equivalent
from bai_sweep.scoring.mathematics._process import MEMORY, companion, same


@pytest.fixture
def comparer() -> Iterator[Companion]:
    process = companion()
    yield process
    process.close()


HOSTILE = [r"9^{9^{9^9}}", "99999999!", r"(x+y+z)^{500}", r"\sum_{i=1}^{10^9} i^i"]


@pytest.mark.parametrize("candidate", HOSTILE)
def test_an_expression_without_end_is_not_equal_and_the_next_is_compared(
    candidate: str, caplog: pytest.LogCaptureFixture
) -> None:
    begun = time.monotonic()
    with caplog.at_level(logging.WARNING):
        assert not equivalent(candidate, r"2\sqrt{3}", seconds=0.5)
    assert time.monotonic() - begun < 1.5 + 2.0 + 120.0  # wall time of the limit, its reserve, a start
    assert "not settled" in caplog.text
    assert equivalent(r"\sqrt{12}", r"2\sqrt{3}")


def test_memory_and_files_are_limited(comparer: Companion) -> None:
    assert same(comparer, "x+x", "2x", 5.0) is True
    process = psutil.Process(comparer.pid)
    assert process.rlimit(psutil.RLIMIT_AS) == (MEMORY, MEMORY)
    assert process.rlimit(psutil.RLIMIT_FSIZE) == (0, 0)
    assert process.rlimit(psutil.RLIMIT_CORE) == (0, 0)


def test_one_that_has_used_much_memory_is_replaced(comparer: Companion, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_process, "ENOUGH", 2**20)
    pids = set()
    for number in range(3):
        assert same(comparer, "x+x", f"{number}x", 5.0) is (number == 2)
        pids.add(comparer.pid)
    assert len(pids) == 3


def test_a_process_that_was_killed_is_replaced(comparer: Companion) -> None:
    assert same(comparer, "x+x", "2x", 5.0) is True
    first = comparer.pid
    assert first is not None
    os.kill(first, signal.SIGKILL)
    assert same(comparer, "x+x", "3x", 5.0) is False
    assert comparer.pid not in (None, first)
    comparer.close()
    assert comparer.pid is None


def test_threads_share_it(comparer: Companion) -> None:
    def ask(number: int) -> bool | None:
        return same(comparer, f"{number}x+x", f"{number + number % 2}x", 5.0)

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(ask, range(16))) == [number % 2 == 1 for number in range(16)]


SCRIPT = """
import os, sys, time
from bai_sweep.scoring.mathematics import _process
assert _process.same_value("x+x", "2x", 5.0)
print(_process._companion(os.getpid()).pid, flush=True)
if not (child := os.fork()):
    assert _process.same_value("x+x", "2x", 5.0)
    print(_process._companion(os.getpid()).pid, flush=True)
    sys.exit()
os.waitpid(child, 0)
print("done", flush=True)
if sys.argv[1] == "wait":
    time.sleep(600)
"""


@pytest.mark.parametrize("ending", ["exit", "wait"])
def test_none_outlives_its_owner_and_a_fork_has_its_own(ending: str, tmp_path: Path) -> None:
    script = tmp_path / "owner.py"
    script.write_text(SCRIPT)
    root = Path(__file__).parents[4]
    with subprocess.Popen(
        [sys.executable, str(script), ending],
        stdout=subprocess.PIPE,
        cwd=root,
        env={**os.environ, "PYTHONPATH": str(root)},
    ) as owner:
        assert owner.stdout is not None
        pids = [int(owner.stdout.readline()) for _ in range(2)]
        assert owner.stdout.readline() == b"done\n"
        if ending == "wait":
            assert psutil.pid_exists(pids[0])
            owner.kill()
        owner.wait()
    assert pids[0] != pids[1]
    end = time.monotonic() + 20.0
    while any(map(psutil.pid_exists, pids)) and time.monotonic() < end:
        time.sleep(0.05)
    assert not any(map(psutil.pid_exists, pids))


def test_a_process_that_cannot_start_is_named(
    comparer: Companion, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = tmp_path / "broken.py"
    broken.write_text("raise SystemExit(7)")
    monkeypatch.setattr(_process, "_PROGRAM", broken)
    with pytest.raises(UserError, match=r"status 7 before it was ready; `.*broken\.py"):
        same(comparer, "x+x", "2x", 5.0)


REFUSED = [
    ("subprocess.Popen", ("sh", [], None, None)),
    ("os.system", (b"id",)),
    ("os.remove", ("file", -1)),
    ("socket.connect", (None, None)),
    ("open", ("file", "w", os.O_WRONLY | os.O_CREAT)),
]


@pytest.mark.parametrize(("event", "args"), REFUSED)
def test_it_refuses_what_no_comparison_needs(event: str, args: tuple[object, ...]) -> None:
    with pytest.raises(PermissionError, match=f"a comparison does not need {event}"):
        _worker._refuse(event, args)


def test_it_may_read_as_imports_do() -> None:
    _worker._refuse("open", ("module.py", "r", os.O_RDONLY))
    _worker._refuse("os.listdir", ("folder",))
    _worker._refuse("import", ("module",))
