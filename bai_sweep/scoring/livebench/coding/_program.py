"""Runs inside the sandbox: calls a solution on every input and reports what it gave; it never sees what is expected.

Read as text and given to the sandbox, never imported by the scoring. What a solution may rely on is the official
runner's (LiveBench/LiveBench, `livebench/lcb_runner/evaluation/testing_util.py`): the names that are imported for it,
stdin as plain text without a `buffer`, one process for all tests, six seconds each. stdin holds
`{"code", "function", "inputs"}`; a line of JSON a test goes to stdout, `{"value"}`, `{"printed"}` or `{"error"}`, and
an error ends the run. The solution can forge these lines, which gains it nothing.
"""

from __future__ import annotations

import ast
import builtins
import io
import json
import os
import signal
import sys
from collections.abc import Callable, Iterable, Iterator
from types import ModuleType
from typing import Any, NoReturn

SECONDS = 6  # for loading the solution, and for each test
STARRED = (
    "string re datetime collections heapq bisect copy math random statistics itertools functools operator io sys json "
    "builtins typing"
)
NAMED = (
    "string re datetime collections heapq bisect copy math random statistics itertools functools operator io sys json"
)
PREAMBLE = "\n".join(
    [f"from {name} import *" for name in STARRED.split()]
    + [f"import {name}" for name in NAMED.split()]
    + ["sys.setrecursionlimit(50000)\n"]
)
FORBIDDEN = ("ipdb", "joblib", "resource", "psutil", "tkinter")


class TimeUpError(Exception):
    """The alarm went off."""


def _time_up(number: int, frame: object) -> NoReturn:
    raise TimeUpError(f"more than {SECONDS} s")


def load(code: str) -> Any:
    """The module of a solution, or its `Solution` object where the code speaks of one."""
    module = ModuleType("tmp_sol")
    signal.alarm(SECONDS)
    try:
        exec(code, module.__dict__)
        return module.Solution() if "class Solution" in code else module
    finally:
        signal.alarm(0)


def as_function(code: str) -> str:
    """The program as `wrapped_function`, behind its imports; `if __name__ == "__main__"` at its end is taken off."""
    body = ast.parse(code).body
    last = body[-1]
    if isinstance(last, ast.If) and ast.unparse(last.test) == "__name__ == '__main__'":
        body = [*body[:-1], *last.body]
    imports: list[ast.stmt] = [line for line in body if isinstance(line, ast.Import | ast.ImportFrom)]
    wrapped = ast.parse("def wrapped_function():\n    pass")
    wrapped.body[0].body = [  # type: ignore[attr-defined]
        line for line in body if not isinstance(line, ast.Import | ast.ImportFrom)
    ]
    return "\n".join([PREAMBLE, ast.unparse(ast.Module(imports, [])), ast.unparse(wrapped)])


def run_program(code: str, inputs: Iterable[str]) -> Iterator[dict[str, Any]]:
    """Runs a program that reads stdin, and gives what it printed for each input."""
    program = load(as_function(code)).wrapped_function
    terminal = sys.stdin
    nowhere = sys.stdout
    for text in inputs:
        _offer(terminal, text)
        sys.stdin = io.StringIO(text)
        sys.stdout = printed = io.StringIO()
        signal.alarm(SECONDS)
        try:
            program()
        except SystemExit:
            pass  # a program may end itself
        finally:
            signal.alarm(0)
            sys.stdin, sys.stdout = terminal, nowhere
        yield {"printed": printed.getvalue()}


def _offer(terminal: Any, text: str) -> None:
    """What a program reads that imported `stdin` itself: the official runner patches that object's methods."""
    lines = iter(text.split("\n"))
    terminal.read = lambda *_: text
    terminal.readline = lambda *_: next(lines)
    terminal.readlines = lambda *_: text.split("\n")


def run_function(code: str, name: str, inputs: Iterable[str]) -> Iterator[dict[str, Any]]:
    """Calls a function or method, and gives what it returned for each input; an outer tuple counts as a list."""
    function: Callable[..., object] = getattr(load(f"{PREAMBLE}\n\n{code}"), name)
    for arguments in [[json.loads(line) for line in text.split("\n")] for text in inputs]:
        signal.alarm(SECONDS)
        try:
            value = function(*arguments)
        finally:
            signal.alarm(0)
        yield {"value": plain(list(value) if isinstance(value, tuple) else value)}


def plain(value: Any) -> object:
    """The value as JSON has it.

    Raises:
        TypeError: It is of a type that equals nothing that JSON can express.
    """
    if type(value).__module__ == "numpy" and hasattr(value, "item"):
        value = value.item()
    if isinstance(value, list):
        return [plain(item) for item in value]
    if isinstance(value, dict) and all(isinstance(key, str) for key in value):
        return {str(key): plain(item) for key, item in value.items()}
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise TypeError(f"a {type(value).__name__} in the result")


def main() -> None:
    """Runs what stdin asks for and leaves at once, whatever threads the solution has started."""
    sys.set_int_max_str_digits(50_000)
    order = json.load(sys.stdin)
    report = os.fdopen(os.dup(1), "w", encoding="ascii")
    nowhere = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(nowhere, stream)
    sys.stdin = os.fdopen(0, encoding="utf-8", closefd=False)
    sys.stdout = os.fdopen(1, "w", encoding="utf-8", closefd=False)
    for name in FORBIDDEN:
        sys.modules[name] = None  # type: ignore[assignment] # importing it then fails
    builtins.quit = None  # type: ignore[assignment] # as there: a program may call exit() only
    signal.signal(signal.SIGALRM, _time_up)
    code, function, inputs = order["code"], order["function"], order["inputs"]
    try:
        for result in run_program(code, inputs) if function is None else run_function(code, function, inputs):
            report.write(json.dumps(result) + "\n")
            report.flush()
    except BaseException as error:  # noqa: BLE001 # the solution's, SystemExit included
        report.write(json.dumps({"error": f"{type(error).__name__}: {error}"[:300]}) + "\n")
        report.flush()
    os._exit(0)


if __name__ == "__main__":
    main()
