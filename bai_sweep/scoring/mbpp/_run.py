"""Runs of a function on its inputs in the sandbox: a candidate's outputs, and the expected ones."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

from bai_sweep.records import UserError
from bai_sweep.sandbox import Limits, Outcome, Sandbox
from bai_sweep.scoring.mbpp._inputs import Arguments
from bai_sweep.scoring.mbpp._oracles import Mode, mode_of
from bai_sweep.scoring.mbpp._task import Task
from bai_sweep.scoring.mbpp._wire import dumps, loads

_LEAST_SECONDS = 4.0  # a test may take, and
_FACTOR = 4.0  # times what the canonical solution took (evalplus/config.py)
_MOST_SECONDS = 60.0  # all base tests together, and all plus tests (EVALPLUS_TIMEOUT_PER_TASK)
_SPARE_SECONDS = 3.0  # evalplus adds one or two to each of both
_TRUTH_SECONDS = 600.0  # the canonical solution is trusted to end, and has no limit in evalplus
_MEMORY = 4 << 30  # evalplus's (eval/__init__.py, `query_maximum_memory_bytes`)
_ROOM = 1 << 16  # bytes that a candidate may write beyond twice what the expected outputs take


@dataclass(frozen=True)
class Truth:
    """What the canonical solution returned on the base and then the plus inputs, and how long it took for each."""

    outputs: tuple[Any, ...]
    seconds: tuple[float, ...]
    written: int  # bytes


@dataclass(frozen=True)
class Outputs:
    """What a candidate returned up to its first failure, and that failure; None: it returned on every input."""

    values: tuple[Any, ...]
    failure: str | None


@lru_cache(maxsize=1024)
def truth(task: Task, sandbox: Sandbox) -> Truth:
    """The expected outputs, from a run of its own in the sandbox.

    Raises:
        UserError: The canonical solution does not run on every input, or returns what is not plain data.
    """
    inputs = (*task.base, *task.plus)
    allowed = [_TRUTH_SECONDS] * len(inputs)
    limits = Limits(_TRUTH_SECONDS, _TRUTH_SECONDS, _MEMORY, output_bytes=64 << 20)
    code, mode = f"{task.prompt}\n{task.canonical_solution}", mode_of(task.entry_point, expected=True)
    outcome = sandbox.run(_program(), stdin=_job(code, task.entry_point, mode, inputs, allowed), limits=limits)
    read, times, failure = _read(outcome, len(inputs))
    if failure is not None:
        raise UserError(
            f"expected outputs come from a task's canonical solution; that of {task.task_id} ended with {failure} on "
            f"input {len(read)} of {len(inputs)}; get MbppPlus.jsonl v0.2.0, whose solutions all run"
        )
    return Truth(read, times, len(outcome.stdout))


def outputs(task: Task, code: str, expected: Truth, sandbox: Sandbox) -> Outputs:
    """What a candidate's code returns on all inputs, in one run.

    A test has the time that evalplus gives it: 4 s, or four times what the canonical solution took. Base tests
    together have at most 60 s, plus tests too, which is where the sandbox ends the run.
    """
    allowed = [max(_LEAST_SECONDS, _FACTOR * seconds) for seconds in expected.seconds]
    split = len(task.base)
    total = min(_MOST_SECONDS, sum(allowed[:split])) + min(_MOST_SECONDS, sum(allowed[split:])) + _SPARE_SECONDS
    limits = Limits(total, total, _MEMORY, output_bytes=2 * expected.written + _ROOM)
    mode = mode_of(task.entry_point, expected=False)
    job = _job(code, task.entry_point, mode, (*task.base, *task.plus), allowed)
    read, _, failure = _read(sandbox.run(_program(), stdin=job, limits=limits), len(allowed))
    return Outputs(read, failure)


@cache
def _program() -> str:
    here = Path(__file__).parent
    sources = [(here / name).read_text(encoding="utf-8") for name in ("_wire.py", "_harness.py")]
    return sources[0] + sources[1].replace("from __future__ import annotations\n", "")


def _job(code: str, entry_point: str, mode: Mode, inputs: Sequence[Arguments], seconds: Sequence[float]) -> bytes:
    texts = [dumps(arguments) for arguments in inputs]
    job = {"code": code, "entry_point": entry_point, "mode": mode, "inputs": texts, "seconds": list(seconds)}
    return json.dumps(job).encode()


def _read(outcome: Outcome, wanted: int) -> tuple[tuple[Any, ...], tuple[float, ...], str | None]:
    """Outputs, seconds for each and the failure; strict, as a candidate may have written anything."""
    values: list[Any] = []
    times: list[float] = []
    for line in outcome.stdout.split(b"\n")[:-1]:
        try:
            kind, *fields = line.decode("ascii").split("\t")
            if kind == "error":
                return tuple(values), tuple(times), str(json.loads(fields[0]))[:300]
            seconds, text = fields
            times.append(float(seconds))
            values.append(loads(text))
        except (ValueError, TypeError, RecursionError, IndexError):
            return tuple(values), tuple(times), "unreadable output"
    if len(values) == wanted:
        return tuple(values), tuple(times), None
    ended = outcome.status if outcome.status not in ("ok", "failed") else "a missing output"
    return tuple(values[:wanted]), tuple(times[:wanted]), ended
