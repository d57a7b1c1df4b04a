"""Programs that use up what there is: each limit ends them, and nothing of them is left."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from bai_sweep.sandbox import Limits, Outcome, Sandbox

_marks = itertools.count(40_000_003 + 100_000 * (os.getpid() % 500), 7)


def run(sandbox: Sandbox, program: str, **limits: float) -> Outcome:
    """A run whose processes can be told by their command line, and of which none may be left."""
    mark = next(_marks)  # the size of the scratch folder is an argument of every process of a run
    outcome = sandbox.run(program, limits=Limits(scratch_bytes=mark, **limits))  # type: ignore[arg-type]
    assert _marked(mark) == []
    assert [child for child in psutil.Process().children() if child.status() == psutil.STATUS_ZOMBIE] == []
    return outcome


def _marked(mark: int) -> list[str]:
    return [path.parent.name for path in Path("/proc").glob("[0-9]*/cmdline") if str(mark) in _text(path)]


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""


def test_limits_processes_are_counted(strong: Sandbox) -> None:
    outcome = run(
        strong,
        "import os, time\nmade = 0\ntry:\n    while True:\n        if not os.fork():\n            time.sleep(60)\n"
        "        made += 1\nexcept OSError:\n    print(made)",
        processes=6,
    )
    assert outcome.stdout == b"5\n"


def test_limits_threads_are_counted(strong: Sandbox) -> None:
    outcome = run(
        strong,
        "import threading, time, os\nmade = 0\ntry:\n    while True:\n"
        "        threading.Thread(target=time.sleep, args=(60,)).start()\n        made += 1\n"
        "except RuntimeError:\n    print(made, flush=True)\n    os._exit(0)",
        processes=6,
    )
    assert outcome.stdout == b"5\n"


def test_limits_fork_bomb(strong: Sandbox) -> None:
    bomb = "import os\nwhile True:\n    try:\n        os.fork()\n    except OSError:\n        pass"
    outcome = run(strong, bomb, seconds=1.5)
    assert outcome.status == "timeout"
    assert outcome.seconds < 6.0


def test_limits_fork_bomb_without_isolation_is_seen_from_outside(weak: Sandbox) -> None:
    sleepers = "import os, time\nfor _ in range(40):\n    if not os.fork():\n        break\ntime.sleep(60)"
    assert run(weak, sleepers, processes=8).status == "killed"


def test_limits_memory_of_one_process(sandbox: Sandbox) -> None:
    assert run(sandbox, "x = bytearray(1 << 29)", memory_bytes=1 << 28).status == "memory"
    caught = "try:\n    x = bytearray(1 << 29)\nexcept MemoryError:\n    print('caught')"
    assert run(sandbox, caught, memory_bytes=1 << 28).stdout == b"caught\n"


def test_limits_memory_of_many_children(sandbox: Sandbox) -> None:
    children = (
        "import os, time\nfor _ in range(6):\n    if not os.fork():\n        x = bytearray(b'x') * (60 << 20)\n"
        "        time.sleep(60)\nos.wait()"
    )
    outcome = run(sandbox, children, memory_bytes=200 << 20)
    assert outcome.status == "memory"
    assert outcome.seconds < 8.0


def test_limits_endless_loop_ends_by_cpu_time(sandbox: Sandbox) -> None:
    outcome = run(sandbox, "while True: pass", cpu_seconds=1.0, seconds=20.0)
    assert (outcome.status, outcome.exit_code) == ("timeout", None)
    assert outcome.seconds < 15.0


def test_limits_cpu_time_of_children_counts_together(sandbox: Sandbox) -> None:
    short = (
        "import os\nwhile True:\n    if not os.fork():\n        sum(range(3_000_000))\n"
        "        os._exit(0)\n    os.wait()"
    )
    assert run(sandbox, short, cpu_seconds=1.0, seconds=30.0).status == "timeout"


def test_limits_ignored_signals_do_not_help(sandbox: Sandbox) -> None:
    deaf = (
        "import signal\nfor s in set(signal.Signals) - {9, 19}:\n    signal.signal(s, signal.SIG_IGN)\n"
        "while True:\n    pass"
    )
    assert run(sandbox, deaf, cpu_seconds=1.0, seconds=20.0).status == "timeout"


def test_limits_sleep_ends_by_wall_time(sandbox: Sandbox) -> None:
    outcome = run(sandbox, "import time; time.sleep(1000)", seconds=0.7)
    assert outcome.status == "timeout"
    assert 0.7 <= outcome.seconds < 5.0


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_limits_gigabyte_of_output(sandbox: Sandbox, stream: str) -> None:
    flood = f"import sys\nfor _ in range(1024):\n    sys.{stream}.write('x' * (1 << 20))"
    outcome = run(sandbox, flood, output_bytes=100_000)
    assert outcome.status == "output"
    assert getattr(outcome, stream) == b"x" * 100_000


def test_limits_output_of_exactly_the_limit_is_kept(sandbox: Sandbox) -> None:
    outcome = run(sandbox, "print('x' * 99, flush=True)", output_bytes=100)
    assert (outcome.status, len(outcome.stdout)) == ("ok", 100)
    assert run(sandbox, "print('x' * 100)", output_bytes=100).status == "output"


def test_limits_orphans_do_not_outlive_the_program(sandbox: Sandbox) -> None:
    daemon = (
        "import os, sys, time\nif not os.fork():\n    os.setsid()\n    if not os.fork():\n"
        "        while True:\n            time.sleep(1)\n            print('lives', flush=True)\n    os._exit(0)\n"
        "os.wait()\nprint('done')"
    )
    began = time.monotonic()
    outcome = run(sandbox, daemon, seconds=20.0)
    assert (outcome.status, outcome.stdout) == ("ok", b"done\n")
    assert time.monotonic() - began < 10.0


def test_limits_program_does_not_outlive_the_process_that_runs_it(sandbox: Sandbox) -> None:
    if sandbox.level == "process":
        pytest.skip("this level promises nothing of programs that fork")
    mark = next(_marks)
    program = f"from bai_sweep.sandbox import Limits, Sandbox\nSandbox({sandbox.level!r}).run("
    program += f"'import os, time; os.fork(); time.sleep(60)', limits=Limits(seconds=60.0, scratch_bytes={mark}))"
    whole = 5  # runner, what made the namespaces, the first inside, two programs
    with subprocess.Popen([sys.executable, "-c", program]) as runner:
        try:
            assert _eventually(lambda: len(_marked(mark)) == whole)
        finally:
            runner.kill()
    assert _eventually(lambda: not _marked(mark))


def _eventually(holds: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + 20.0
    while not holds() and time.monotonic() < deadline:
        time.sleep(0.05)
    return holds()
