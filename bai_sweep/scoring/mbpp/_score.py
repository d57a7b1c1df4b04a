"""From a response to a verdict: all base and plus tests passed or not."""

from __future__ import annotations

from concurrent.futures import Future
from dataclasses import dataclass

from bai_sweep.sandbox import Sandbox
from bai_sweep.scoring._item import Item
from bai_sweep.scoring.mbpp._oracles import passed
from bai_sweep.scoring.mbpp._run import Outputs, outputs, truth
from bai_sweep.scoring.mbpp._task import Task


@dataclass(frozen=True)
class Verdict:
    """What became of a candidate.

    Args:
        base: It passed MBPP's own tests.
        plus: It passed these and evalplus's.
        reason: Why not, or `passed`.
    """

    base: bool
    plus: bool
    reason: str


def judge(task: Task, code: str, sandbox: Sandbox) -> Verdict:
    """Runs code on a task's inputs and compares what it returned, outside, with the canonical solution's outputs.

    Raises:
        UserError: The canonical solution does not run.
        SetupError: The sandbox could not be made.
    """
    expected = truth(task, sandbox)
    got = outputs(task, code, expected, sandbox)
    split = len(task.base)
    base = passed(task.entry_point, task.base, expected.outputs[:split], got.values[:split], task.atol)
    plus = passed(task.entry_point, task.plus, expected.outputs[split:], got.values[split:], task.atol)
    passed_base = base == split
    passed_all = passed_base and plus == len(task.plus)
    return Verdict(passed_base, passed_all, "passed" if passed_all else _reason(base, plus, split, got))


def _reason(base: int, plus: int, split: int, got: Outputs) -> str:
    first = base if base < split else split + plus
    test = f"base test {base}" if base < split else f"plus test {plus}"
    return f"{test}: {got.failure}" if first >= len(got.values) else f"{test}: wrong output"


def score(task: Task, code: str, sandbox: Sandbox) -> Item:
    """1 where all base and plus tests pass; the detail has the verdict on the base tests, the reason and the code."""
    verdict = judge(task, code, sandbox)
    return Item(float(verdict.plus), detail={"base": verdict.base, "reason": verdict.reason, "code": code})


def base_item(scored: Future[Item]) -> Item:
    """The item of the base tests alone, from what `score` gave."""
    item = scored.result()
    return Item(float(item.detail["base"]), detail=item.detail)
