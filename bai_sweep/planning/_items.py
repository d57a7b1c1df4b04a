"""How many items each benchmark has, as this trial would run it."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from functools import lru_cache

from bai_sweep import evaluation
from bai_sweep.config import Benchmark, EvaluationConfig, TrialConfig
from bai_sweep.evaluation.data import BENCHMARKS, official_items
from bai_sweep.judging import name_of
from bai_sweep.records import UserError


@dataclass(frozen=True)
class Counted:
    """The items of a benchmark.

    Args:
        items: None where nobody here knows.
        repeats: Responses to each item.
        generates: Whether the model writes; else it only scores the choices that a task gives.
        source: Where the number comes from, or why there is none.
        fault: Why the benchmark cannot run here; empty if it can.
    """

    items: int | None
    repeats: int
    generates: bool
    source: str
    fault: str = ""

    @property
    def requests(self) -> int:
        """Responses in all; 0 where the items are not known."""
        return (self.items or 0) * self.repeats


def count_items(config: TrialConfig) -> dict[str, Counted]:
    """The items of every benchmark of a trial, as many as its settings take.

    Of one that can run here the task is loaded and its documents are counted; of another the official count stands.
    """
    judge, settings = name_of(config.judge), config.evaluation
    found = {name: Counted(None, 1, True, reason, reason) for name, reason in settings.unavailable.items()}
    for name, benchmark in settings.benchmarks.items():
        if name not in found:
            alone = settings.model_copy(update={"benchmarks": {name: benchmark}, "unavailable": {}})
            found[name] = _counted(alone.model_dump_json(), name, judge)
    return found


def fault_of(settings: EvaluationConfig, judge: str | None) -> str:
    """Why one of these benchmarks cannot run here; empty if all can."""
    # the check writes to cache_dir, and a plan leaves nothing
    with tempfile.TemporaryDirectory() as place:
        try:
            asked = {"cache_dir": place, "allow_missing": False}
            evaluation.check(settings.model_copy(update=asked), judge)
        except UserError as error:
            return str(error)
    return ""


@lru_cache(maxsize=128)  # the points of a grid have the same benchmarks
def _counted(settings: str, name: str, judge: str | None) -> Counted:
    config = EvaluationConfig.model_validate_json(settings)
    benchmark = config.benchmarks[name]
    if fault := fault_of(config, judge):
        return _official(benchmark, config, _reason(fault, name))
    try:
        size = evaluation.size_of(benchmark, config)
    except UserError as error:
        return _official(benchmark, config, str(error))
    return Counted(size.items, benchmark.repeats or 1, size.generates, "counted")


def _official(benchmark: Benchmark, config: EvaluationConfig, fault: str) -> Counted:
    repeats = benchmark.repeats or 1
    if benchmark.data not in BENCHMARKS:
        return Counted(None, repeats, True, f"not known here: {fault}", fault)
    rows = official_items(benchmark.data)
    items = rows if config.subset is None else min(rows, config.subset)
    limited = f", without its limit of {benchmark.limit} a task" if benchmark.limit else ""
    return Counted(items, repeats, benchmark.chat_template, f"official count{limited}", fault)


def _reason(fault: str, name: str) -> str:
    """The line of the check's message that is about the benchmark."""
    start = f"  - {name}: "
    return next((line.removeprefix(start) for line in fault.splitlines() if line.startswith(start)), fault)
