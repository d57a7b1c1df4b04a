"""An answer's point: its program run on every test in a sandbox, what it gave compared outside."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from bai_sweep.sandbox import Limits, Outcome, Sandbox
from bai_sweep.scoring import Item
from bai_sweep.scoring.livebench.coding._cases import Case, cases_of, function_of
from bai_sweep.scoring.livebench.coding._compare import same_print, same_value
from bai_sweep.scoring.livebench.coding._extract import solution

MEMORY_BYTES = 2 << 30
REPORT_BYTES = 1 << 20  # beyond eight times what is expected: JSON may write one byte as six


def score(question: Mapping[str, Any], answer: str, sandbox: Sandbox) -> Item:
    """One point where the answer's program passes all tests of its question, public and private.

    Source: LiveBench/LiveBench, `livebench/process_results/coding/utils.py`, `LCB_generation_process_results`.

    Args:
        question: As LiveBench publishes it, with its tests.
        answer: The model's.
        sandbox: Where the program runs; expected outputs stay outside.

    Returns:
        1 or 0; `detail` has the program, how many tests it passed before the first that it failed, how many there
        are, and why it failed.

    Raises:
        UserError: The question's tests cannot be read.
    """
    cases, function, code = cases_of(question), function_of(question), solution(question, answer)
    order = {"code": code, "function": function, "inputs": [case.given for case in cases]}
    outcome = sandbox.run(_program(), stdin=json.dumps(order).encode("ascii"), limits=_limits(cases))
    passed, failure = _passed(outcome, cases, function is None)
    detail = {"code": code, "passed": passed, "tests": len(cases), "failure": failure}
    return Item(float(passed == len(cases)), detail=detail)


@cache
def _program() -> str:
    return Path(__file__).with_name("_program.py").read_text(encoding="utf-8")


def _limits(cases: Sequence[Case]) -> Limits:
    """The official limit on a whole question, seven seconds a test and five more."""
    seconds = 7.0 * len(cases) + 5.0
    expected = sum(len(case.expected) for case in cases)
    return Limits(
        seconds=seconds, cpu_seconds=seconds, memory_bytes=MEMORY_BYTES, output_bytes=REPORT_BYTES + 8 * expected
    )


def _passed(outcome: Outcome, cases: Sequence[Case], prints: bool) -> tuple[int, str | None]:
    """How many tests were passed before the first that was not, and what was wrong with that one."""
    lines = outcome.stdout.split(b"\n")
    for number, case in enumerate(cases):
        result = _result(lines[number]) if number < len(lines) else {}
        given = result.get("printed" if prints else "value")
        if prints and isinstance(given, str) and same_print(given, case.expected):
            continue
        if not prints and "value" in result and same_value(given, case.expected):
            continue
        if "printed" in result or "value" in result:
            return number, f"wrong: {str(given)[:200]}"
        return number, str(result.get("error", f"the run ended: {outcome.status}"))[:300]
    return len(cases), None


def _result(line: bytes) -> Mapping[str, Any]:
    """A test's result as the sandbox reports it; empty where that is cut off or forged."""
    try:
        result = json.loads(line)
    except (ValueError, RecursionError):
        return {}
    return result if isinstance(result, dict) else {}
