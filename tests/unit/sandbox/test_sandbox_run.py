"""What a program finds and what comes back of it, at every level."""

from __future__ import annotations

import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from bai_sweep.sandbox import Limits, Sandbox


def test_run_program_reads_its_stdin_and_writes_both_streams(sandbox: Sandbox) -> None:
    outcome = sandbox.run("import sys; print(sys.stdin.read()[::-1]); print('é', file=sys.stderr)", stdin=b"abc")
    assert (outcome.status, outcome.exit_code) == ("ok", 0)
    assert outcome.stdout == b"cba\n"
    assert outcome.stderr == "é\n".encode()


def test_run_large_program_and_large_stdin(sandbox: Sandbox) -> None:
    program = f"import sys\nx = {'y' * 500_000!r}\nprint(len(x), len(sys.stdin.buffer.read()))"
    assert sandbox.run(program, stdin=b"z" * 3_000_000).stdout == b"500000 3000000\n"


def test_run_program_that_leaves_stdin_unread(sandbox: Sandbox) -> None:
    assert sandbox.run("print(1)", stdin=b"z" * 3_000_000).stdout == b"1\n"


@pytest.mark.parametrize(
    ("program", "status", "code"),
    [
        ("", "ok", 0),
        ("import sys; sys.exit(3)", "failed", 3),
        ("exit(4)", "failed", 4),
        ("import os; os._exit(137)", "failed", 137),
        ("raise ValueError", "failed", 1),
        ("def", "failed", 1),
        ("import os; os.kill(os.getpid(), 9)", "killed", None),
        ("import os; os.abort()", "killed", None),
        ("import ctypes; ctypes.string_at(1)", "killed", None),
    ],
)
def test_run_end_is_told(sandbox: Sandbox, program: str, status: str, code: int | None) -> None:
    outcome = sandbox.run(program)
    assert (outcome.status, outcome.exit_code) == (status, code), outcome


def test_run_traceback_names_the_program(sandbox: Sandbox) -> None:
    assert b'File "program.py", line 2' in sandbox.run("x = 1\nx.y").stderr


def test_run_surrogates_in_the_source_fail_inside(sandbox: Sandbox) -> None:
    outcome = sandbox.run("x = '\ud800'")
    assert (outcome.status, outcome.exit_code) == ("failed", 1)
    assert b"SyntaxError" in outcome.stderr


def test_run_same_python_with_numpy_and_nothing_else_of_ours(sandbox: Sandbox) -> None:
    outcome = sandbox.run(
        "import json, sys, numpy\n"
        "product = float(numpy.arange(4.0).dot(numpy.ones(4)))\n"
        "print(json.dumps([list(sys.version_info[:3]), numpy.__version__, product]))"
    )
    import numpy as np

    assert json.loads(outcome.stdout) == [list(sys.version_info[:3]), np.__version__, 6.0], outcome


def test_run_packages_of_ours_stay_out(strong: Sandbox) -> None:
    for name in ("bai_sweep", "torch", "psutil"):
        assert b"ModuleNotFoundError" in strong.run(f"import {name}").stderr


def test_run_is_main_and_repeats_exactly(sandbox: Sandbox) -> None:
    program = "print(__name__, list({'a', 'b', 'c', 'd', 'e', 'f'}), hash('x'))"
    first, second = sandbox.run(program), sandbox.run(program)
    assert first.stdout.startswith(b"__main__ ")
    assert first.stdout == second.stdout


def test_run_children_work_within_the_limit(sandbox: Sandbox) -> None:
    program = (
        "import subprocess, sys, threading\n"
        "print(subprocess.run([sys.executable, '-c', 'print(1)'], capture_output=True, text=True).stdout)\n"
        "threads = [threading.Thread(target=print, args=('t',)) for _ in range(3)]\n"
        "[t.start() for t in threads]; [t.join() for t in threads]"
    )
    assert sorted(sandbox.run(program).stdout.split()) == [b"1", b"t", b"t", b"t"]


def test_run_each_has_a_scratch_folder_of_its_own(sandbox: Sandbox) -> None:
    program = "import os\nprint(os.listdir('.'))\nopen('file', 'w').write('x')\nprint(open('file').read())"
    assert [sandbox.run(program).stdout for _ in range(2)] == [b"[]\nx\n"] * 2


def test_run_from_several_threads_at_once(sandbox: Sandbox) -> None:
    with ThreadPoolExecutor(4) as pool:
        outcomes = list(pool.map(lambda n: sandbox.run(f"print({n})"), range(12)))
    assert [outcome.stdout for outcome in outcomes] == [f"{n}\n".encode() for n in range(12)]


def test_run_descriptors_of_this_process_are_closed(sandbox: Sandbox) -> None:
    outcome = sandbox.run(
        "import os\nopened = []\nfor fd in range(64):\n"
        "    try:\n        os.fstat(fd)\n        opened.append(fd)\n    except OSError:\n        pass\nprint(opened)"
    )
    assert outcome.stdout == b"[0, 1, 2]\n"


def test_run_limits_have_the_documented_defaults() -> None:
    assert Limits() == Limits(10.0, 10.0, 1 << 30, 16, 1 << 20, 64 << 20)


def test_run_room_imports_without_numpy_and_torch() -> None:
    code = "import sys, bai_sweep.sandbox; print([m for m in ('numpy', 'torch', 'lm_eval') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout == b"[]\n"
