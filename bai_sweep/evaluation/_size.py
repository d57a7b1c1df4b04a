"""How much a benchmark is, without a model and without running it."""

from __future__ import annotations

from dataclasses import dataclass

from bai_sweep.config import Benchmark, EvaluationConfig
from bai_sweep.evaluation._loading import load
from bai_sweep.evaluation._surroundings import quiet


@dataclass(frozen=True)
class BenchmarkSize:
    """What a benchmark would run, by its settings.

    Args:
        items: Each asked once.
        generates: Whether the model writes; else it only scores the choices that a task gives.
    """

    items: int
    generates: bool


def size_of(benchmark: Benchmark, config: EvaluationConfig) -> BenchmarkSize:
    """Loads the benchmark's tasks and counts their documents.

    Raises:
        UserError: Settings that would silently have no effect, or data that is not there.
    """
    with quiet():
        loaded = load(benchmark, config)
    generates = any(task.OUTPUT_TYPE == "generate_until" for task in loaded.tasks["tasks"].values())
    return BenchmarkSize(loaded.items, generates)
