"""Candidates in the sandbox: right ones pass, wrong and dishonest ones do not."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from bai_sweep.records import UserError
from bai_sweep.sandbox import Sandbox
from bai_sweep.scoring.mbpp import Task, Verdict, extract_code, judge, prompt, score

RIGHT = "def square(x):\n    return x * x if x <= 10 else x + x"


def test_judge_right_solution(square: Task, sandbox: Sandbox) -> None:
    assert judge(square, RIGHT, sandbox) == Verdict(True, True, "passed")
    item = score(square, RIGHT, sandbox)
    assert item.value == 1.0
    assert item.detail == {"base": True, "reason": "passed", "code": RIGHT}


def test_judge_base_tests_alone_are_not_enough(square: Task, sandbox: Sandbox) -> None:
    verdict = judge(square, "def square(x):\n    return x * x", sandbox)
    assert verdict == Verdict(base=True, plus=False, reason="plus test 1: wrong output")
    assert score(square, "def square(x):\n    return x * x", sandbox).value == 0.0


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("def square(x):\n    return x * x + 1", "base test 0: wrong output"),
        ("def square(x):\n    pass", "base test 0: wrong output"),
        ("def square(x):\n    return str(x * x)", "base test 0: wrong output"),
        ("def square(x):\n    return [x * x]", "base test 0: wrong output"),
        ("def square(x):\n    return 1 / 0", "base test 0: ZeroDivisionError"),
        ("def square(x, y):\n    return x", "base test 0: TypeError"),
        ("def cube(x):\n    return x", "base test 0: KeyError"),
        ("def square(x):\n    return", "base test 0: wrong output"),
        ("this is no code", "base test 0: SyntaxError"),
        ("", "base test 0: KeyError"),
        ("import sys\nsys.exit(0)", "base test 0: SystemExit"),
        ("def square(x):\n    exit(0)", "base test 0: SystemExit"),
        ("def square(x):\n    import os\n    os._exit(0)", "base test 0: a missing output"),
        ("def square(x):\n    import os\n    os.kill(os.getpid(), 9)", "base test 0: killed"),
        ("def square(x):\n    return bytearray(1 << 40)", "base test 0: MemoryError"),
        ("def square(x):\n    print('4\\n9\\n')\n    return print", "base test 0: TypeError: not plain data"),
    ],
)
def test_judge_wrong_solutions(square: Task, sandbox: Sandbox, code: str, reason: str) -> None:
    verdict = judge(square, code, sandbox)
    assert (verdict.base, verdict.plus) == (False, False)
    assert verdict.reason.startswith(reason)


LIES = "__eq__ = lambda self, other: True\n    __ne__ = lambda self, other: False\n    __hash__ = lambda self: 0"
FORGED = b"".join(b"ok\t0.1\t%d\n" % value for value in (1, 1, 1, 1, 1))
WRITES = """import os
def write(data):  # to every descriptor, of which the harness's is one
    for n in range(3, 99):
        try:
            os.write(n, data)
        except OSError:
            pass
"""


@pytest.mark.parametrize(
    "code",
    [
        f"class Any:\n    {LIES}\ndef square(x):\n    return Any()",
        f"class Any(int):\n    {LIES}\ndef square(x):\n    return Any(x)",
        f"class Any(str):\n    {LIES}\ndef square(x):\n    return Any('x')",
        f"class Any(list):\n    {LIES}\ndef square(x):\n    return Any()",
        f"class Any:\n    {LIES}\ndef square(x):\n    return [Any()]",
        f"class Any:\n    {LIES}\nAny.__name__ = 'int64'\nAny.__module__ = 'numpy'\n"
        "Any.item = lambda self: self\ndef square(x):\n    return Any()",
        "import builtins, json\nbuiltins.type = lambda value: int\njson.dumps = lambda *a, **k: 'true'\n"
        "def square(x):\n    return object()",
        "import sys\nmain = sys.modules['__main__'].__dict__\nmain['dumps'] = lambda value: '[\"l\"]'\n"
        "def square(x):\n    return 0",
        "import sys\nmain = sys.modules['__main__'].__dict__\nmain['presented'] = lambda value, mode: True\n"
        "def square(x):\n    return 0",
        WRITES + f"def square(x):\n    write({FORGED!r})\n    return 1",
        WRITES + "def square(x):\n    write(b'rubbish\\xff')\n    return x * x if x <= 10 else 2 * x",
        WRITES + "def square(x):\n    write(b'ok\\t0\\t4')\n    os._exit(0)",
    ],
)
def test_judge_dishonest_solutions(square: Task, sandbox: Sandbox, code: str) -> None:
    verdict = judge(square, code, sandbox)
    assert not verdict.plus, verdict


def test_judge_expected_outputs_are_not_where_the_candidate_is(square: Task, sandbox: Sandbox) -> None:
    spy = (
        "import gc, sys\ndef square(x):\n    frame, seen = sys._getframe(), []\n    while frame:\n"
        "        seen.append(repr(frame.f_locals) + repr(frame.f_globals))\n        frame = frame.f_back\n"
        "    text = ''.join(seen) + repr(sys.argv) + repr([o for o in gc.get_objects() if type(o) is dict])\n"
        "    raise ValueError('found' if str(4815162341 + 1) in text else 'nothing')"
    )
    task = replace(square, canonical_solution="def square(x):\n    return 4815160000 + 2342 + 0 * x")
    assert judge(task, spy, sandbox).reason == "base test 0: ValueError: nothing"
    given = replace(task, base_input="[[4815162342]]")
    assert judge(given, spy, sandbox).reason == "base test 0: ValueError: found"  # the spy does find what is there


def test_judge_slow_solution_has_four_seconds_a_test(square: Task, sandbox: Sandbox) -> None:
    began = time.monotonic()
    verdict = judge(square, "def square(x):\n    while True:\n        pass", sandbox)
    assert verdict.reason.startswith("base test 0: OutOfTimeError")
    assert time.monotonic() - began < 20.0


def test_judge_solution_that_ignores_its_time_is_ended_from_outside(square: Task, sandbox: Sandbox) -> None:
    single = replace(square, base_input="[[2]]", plus_input="[]")
    deaf = "import signal, time\nsignal.signal(14, signal.SIG_IGN)\ndef square(x):\n    time.sleep(99)\n    return 4"
    assert judge(single, deaf, sandbox).reason == "base test 0: timeout"


def test_judge_candidate_may_write_as_much_as_is_expected(square: Task, sandbox: Sandbox) -> None:
    flood = "def square(x):\n    return 'x' * (1 << 20)"
    assert judge(square, flood, sandbox).reason == "base test 0: output"
    long = replace(square, canonical_solution=flood)
    assert judge(long, flood, sandbox).plus


def test_judge_outputs_too_large_to_get_out_are_compared_all_the_same(square: Task, sandbox: Sandbox) -> None:
    large = "def square(x):\n    return [(i, str(i)) for i in range(900_000 + x)]"
    task = replace(square, canonical_solution=large, base_input="[[2]]", plus_input="[[3]]")
    other = "def square(x):\n    return list(zip(range(900_000 + x), map(str, range(900_000 + x))))"
    assert judge(task, other, sandbox).plus
    assert judge(task, f"{other}[:-1] + [(1, '1')]", sandbox).reason == "base test 0: wrong output"
    assert judge(square, large, sandbox).reason == "base test 0: wrong output"


def test_judge_numpy_and_library_types_as_in_evalplus(square: Task, sandbox: Sandbox) -> None:
    numpy = "import numpy as np\ndef square(x):\n    return np.int64(x * x if x <= 10 else 2 * x)"
    assert judge(square, numpy, sandbox).plus
    counts = replace(
        square,
        canonical_solution="def square(x):\n    return {i: 1 for i in range(x)}",
    )
    counter = "from collections import Counter\ndef square(x):\n    return Counter(range(x))"
    assert judge(counts, counter, sandbox).plus


def test_judge_modes_of_special_tasks(square: Task, sandbox: Sandbox) -> None:
    import_re = "import re\ndef check_str(x):\n    return re.match('[aeiou]', x)"
    task = replace(
        square,
        entry_point="check_str",
        canonical_solution=import_re,
        base_input='[["a"], ["b"]]',
        plus_input='[["e"]]',
    )
    for code in (
        import_re,
        "def check_str(x):\n    return x in 'aeiou'",
        "def check_str(x):\n    return x in 'ae' or None",
    ):
        assert judge(task, code, sandbox).plus
    assert not judge(task, "def check_str(x):\n    return 1", sandbox).base
    members = replace(
        square,
        entry_point="Diff",
        canonical_solution="def Diff(a):\n    return sorted(set(a))",
        base_input="[[[2, 1, 2]]]",
        plus_input="[[[]]]",
    )
    assert judge(members, "def Diff(a):\n    return filter(None, a)", sandbox).plus
    assert not judge(members, "def Diff(a):\n    return a[1:2]", sandbox).base


def test_judge_expected_outputs_are_computed_once(square: Task, sandbox: Sandbox) -> None:
    from bai_sweep.scoring.mbpp._run import truth

    task = replace(square, task_id="Mbpp/9002")
    before = truth.cache_info()
    for _ in range(3):
        judge(task, RIGHT, sandbox)
    after = truth.cache_info()
    assert (after.misses - before.misses, after.hits - before.hits) == (1, 2)


def test_judge_task_whose_canonical_solution_fails(square: Task, sandbox: Sandbox) -> None:
    broken = replace(square, canonical_solution="def square(x):\n    return 1 / (x - 3)")
    with pytest.raises(UserError, match=r"Mbpp/9001 ended with ZeroDivisionError.*on input 1 of 5"):
        judge(broken, RIGHT, sandbox)


def test_prompt_is_evalplus_request() -> None:
    assert prompt('\n"""\nAdd.\nassert f(1) == 2\n"""\n') == (
        "Please provide a self-contained Python script that solves the following problem in a markdown code block:\n"
        '```python\n"""\nAdd.\nassert f(1) == 2\n"""\n```'
    )


CHOSEN = (2, 7, 16, 70, 115, 124, 164, 252, 295, 558, 581, 737)  # every special rule and several kinds of inputs


def _mutants(code: str) -> dict[str, str]:
    """Wrong in one way each; a mutant may fit a task by chance."""
    body = re.sub(r"(?m)^(\s+)return (.+)$", r"\1return (\2, 0)", code)
    return {
        "none": re.sub(r"(?m)^(\s+)return .+$", r"\1return None", code),
        "type": body,
        "raises": re.sub(r"(?m)^(\s+)return .+$", r"\1raise ValueError", code),
    }


@pytest.fixture
def real(shared_data: Callable[[str], Path]) -> list[Task]:
    path = shared_data("mbpp_plus/MbppPlus_2023-11-16.jsonl")
    tasks = [Task.of(json.loads(line)) for line in path.read_text().splitlines()]
    return [task for task in tasks if int(task.task_id[5:]) in CHOSEN]


def test_judge_real_tasks_pass_with_their_canonical_solution_and_fail_with_mutants(
    real: list[Task], sandbox: Sandbox
) -> None:
    assert len(real) == len(CHOSEN)
    for task in real:
        code = task.canonical_solution.strip("\n")
        response = f"Here is a solution:\n```python\n{code}\n```\nIt does what was asked."
        assert judge(task, extract_code(response, task.entry_point), sandbox).plus, task.task_id
        for name, mutant in _mutants(code).items():
            passes = judge(task, mutant, sandbox).plus
            assert not passes or (task.entry_point == "are_equivalent" and name != "raises"), (task.task_id, name)
