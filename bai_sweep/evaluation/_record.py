"""What a benchmark was run with: versions, settings, and which data."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from bai_sweep.config import Benchmark, EvaluationConfig
from bai_sweep.evaluation import data
from bai_sweep.evaluation._loading import Loaded
from bai_sweep.records import UserError


def described(
    benchmark: Benchmark, config: EvaluationConfig, loaded: Loaded, results: Mapping[str, Any]
) -> dict[str, Any]:
    """A benchmark's entry in an evaluation's record.

    Args:
        benchmark: as configured.
        config: the evaluation it is part of.
        loaded: what ran.
        results: lm-eval's.
    """
    tasks = {
        name: {
            "version": results["versions"].get(name),
            "shots": task.get_config("num_fewshot"),
            "repeats": task.get_config("repeats"),
            "generation": task.get_config("generation_kwargs") if task.OUTPUT_TYPE == "generate_until" else None,
        }
        for name, task in loaded.tasks["tasks"].items()
    }
    return {"tasks": tasks, "data": _data(benchmark, config)}


def _data(benchmark: Benchmark, config: EvaluationConfig) -> dict[str, Any] | None:
    if benchmark.data is None:
        return None
    try:
        return dataclasses.asdict(data.describe(benchmark.data, config.data_dir))
    except UserError:  # lm-eval's own tasks load from the hub's cache, of which nothing is known here
        return None
