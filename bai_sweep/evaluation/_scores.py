"""From lm-eval's results to scores in points, with the standard error over items."""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Mapping, Sequence
from numbers import Real
from pathlib import Path
from typing import Any

from bai_sweep.config import Benchmark
from bai_sweep.records import Score, UserError

PROMPT_TAIL = 2000  # characters kept of each prompt in the samples file


def score_of(name: str, benchmark: Benchmark, results: Mapping[str, Any]) -> Score:
    """One benchmark's score: 100 times the mean of its per-item values.

    A group's value is the size-weighted mean of its tasks, which is the mean over all items. The standard error is
    s / sqrt(n) with the sample standard deviation s over these n items, NaN for a single one.

    Args:
        name: the benchmark's.
        benchmark: says which metric and filter count.
        results: what `lm_eval.evaluator.evaluate` returned with `log_samples=True`.

    Raises:
        UserError: the task has no such metric and filter, or one that is not a mean of values from 0 to 1.
    """
    items = tuple(100.0 * value for task in results["samples"] for value in _values(task, benchmark, results))
    value = math.fsum(items) / len(items)
    stderr = statistics.stdev(items) / math.sqrt(len(items)) if len(items) > 1 else math.nan
    return Score(name, value, stderr, len(items), _key(benchmark), items)


def _values(task: str, benchmark: Benchmark, results: Mapping[str, Any]) -> list[float]:
    key, aggregated = _key(benchmark), results["results"][task]
    if key not in aggregated:
        known = ", ".join(sorted(k for k in aggregated if "," in k and "_stderr" not in k))
        raise UserError(f"task {task} has the metrics {known} ('metric,filter'); got {key!r}")
    samples = [sample for sample in results["samples"][task] if sample["filter"] == benchmark.filter]
    values: list[Any] = [sample.get(benchmark.metric) for sample in samples]
    if bad := [v for v in values if not isinstance(v, Real) or not 0.0 <= float(v) <= 1.0]:
        raise UserError(f"a score needs a value from 0 to 1 for every item; {key} of task {task} has {bad[0]!r}")
    numbers = [float(v) for v in values]
    mean = math.fsum(numbers) / len(numbers)
    if not math.isclose(mean, aggregated[key], abs_tol=1e-9):
        raise UserError(
            f"a score is the mean of its items; {key} of task {task} is aggregated to {aggregated[key]:g} where the "
            f"mean is {mean:g}; choose a metric with `aggregation: mean`"
        )
    return numbers


def save_samples(
    path: Path, benchmark: Benchmark, results: Mapping[str, Any], raw: Mapping[tuple[str, int], Sequence[str]]
) -> None:
    """Writes one JSON line an item: task, document, end of the prompt, whole responses, answers, target, points."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8") as file:
        for task, samples in results["samples"].items():
            for sample in (s for s in samples if s["filter"] == benchmark.filter):
                line = {
                    "task": task,
                    "doc_id": sample["doc_id"],
                    "prompt": str(sample["arguments"][0][0])[-PROMPT_TAIL:],
                    "responses": list(raw.get((task, sample["doc_id"]), ())) or sample["resps"],
                    "answers": sample["filtered_resps"],
                    "target": sample["target"],
                    "points": 100.0 * float(sample[benchmark.metric]),
                }
                file.write(json.dumps(line, ensure_ascii=False, default=str) + "\n")


def _key(benchmark: Benchmark) -> str:
    return f"{benchmark.metric},{benchmark.filter}"
