"""A few items of each benchmark, and the clock beside them."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from bai_sweep.config import EvaluationConfig, JudgeConfig, TrialConfig
from bai_sweep.planning._calibration import MeasuredBenchmark
from bai_sweep.planning._items import fault_of

if TYPE_CHECKING:
    from bai_sweep.judging import Judge
    from bai_sweep.merging import InitialActor


def measurable(config: TrialConfig, place: Path) -> tuple[EvaluationConfig, dict[str, str]]:
    """The evaluation with those benchmarks that can run here for nothing, and why the others are left out."""
    from bai_sweep.judging import name_of

    settings = config.evaluation.model_copy(update={"cache_dir": str(place / "cache"), "unavailable": {}})
    missing = dict(config.evaluation.unavailable)
    for name, benchmark in settings.benchmarks.items():
        alone = settings.model_copy(update={"benchmarks": {name: benchmark}})
        if "judge" in benchmark.needs and config.judge.kind == "openai":
            missing[name] = f"a plan does not ask judge={config.judge.name}, which may cost money"
        elif fault := fault_of(alone, name_of(config.judge)):
            missing[name] = fault
    kept = {name: benchmark for name, benchmark in settings.benchmarks.items() if name not in missing}
    return settings.model_copy(update={"benchmarks": kept}), missing


def measure_items(
    initial: InitialActor, settings: EvaluationConfig, judge: JudgeConfig, place: Path, items: Sequence[int]
) -> dict[str, MeasuredBenchmark]:
    """Runs each benchmark of `settings` on fewer and on more items.

    Args:
        initial: The actor.
        settings: As `measurable` gives them.
        judge: The trial's.
        place: Where samples and answers go.
        items: Of a benchmark in each of the two runs.
    """
    from bai_sweep import judging

    if not settings.benchmarks:
        return {}
    opened = judging.open_judge(judge, cache_dir=place / "judge")
    return {name: _measured(initial, settings, name, opened, place / name, items) for name in settings.benchmarks}


def _measured(  # noqa: PLR0917 - what an evaluation takes
    initial: InitialActor,
    settings: EvaluationConfig,
    name: str,
    judge: Judge | None,
    place: Path,
    items: Sequence[int],
) -> MeasuredBenchmark:
    # a limit counts the items of each task, and there may be dozens
    benchmark = settings.benchmarks[name].model_copy(update={"limit": None})
    runs = []
    for number, count in enumerate(items):
        folder = place / str(number)
        # a cache of its own, or the second run would know the first one's answers
        few = {"benchmarks": {name: benchmark}, "subset": count, "cache_dir": str(folder / "cache")}
        runs.append(_run(initial, settings.model_copy(update=few), judge, folder / "samples"))
    samples = place / str(len(items) - 1) / "samples"
    taken, asked = sum(file.stat().st_size for file in samples.iterdir()), max(runs[-1][1][0], 1)
    # loading as in the second run: the first one imports lm-eval
    return MeasuredBenchmark(
        runs[-1][0], runs[0][1], runs[-1][1], _tokens(samples / f"{name}.jsonl", initial) / asked, taken / asked
    )


def _run(
    initial: InitialActor, settings: EvaluationConfig, judge: Judge | None, samples: Path
) -> tuple[float, tuple[int, float]]:
    """Seconds until the first item is asked; responses, and the seconds from there on."""
    from bai_sweep import evaluation

    clock = [time.perf_counter()]
    report = evaluation.evaluate(
        initial.model,
        initial.tokenizer,
        settings.model_copy(update={"allow_missing": False}),
        device=initial.model.device,
        on_progress=lambda done, total: clock.append(time.perf_counter()),
        judge=judge,
        samples_dir=samples,
    )
    (benchmark,), (score,) = settings.benchmarks.values(), report.scores
    return clock[1] - clock[0], (score.n * (benchmark.repeats or 1), time.perf_counter() - clock[1])


def _tokens(samples: Path, initial: InitialActor) -> int:
    """Of all prompts (their last 2,000 characters are kept) and responses; of scored choices there is no text."""
    lines = [json.loads(line) for line in samples.read_text(encoding="utf-8").splitlines()]
    texts = [[line["prompt"], *(text for text in line["responses"] if isinstance(text, str))] for line in lines]
    return sum(len(initial.tokenizer(text)["input_ids"]) for parts in texts for text in parts)
