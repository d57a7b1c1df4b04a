"""A benchmark's tasks as lm-eval objects, with the configuration's settings in place of their own."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from bai_sweep.config import Benchmark, EvaluationConfig
from bai_sweep.evaluation._catalogue import TaskSource, find_task
from bai_sweep.evaluation._responses import decoding_of
from bai_sweep.evaluation._subset import Subset, choose
from bai_sweep.evaluation.data import is_fetched, lm_eval_overrides
from bai_sweep.records import UserError

log = logging.getLogger(__name__)

LM_EVALS_OWN = ("mmlu", "mmlu_pro")  # benchmarks whose tasks lm-eval has, which know of no data_dir


@dataclass
class Loaded:
    """A benchmark's tasks, ready to run.

    Args:
        tasks: lm-eval's TaskDict: tasks and groups by name.
        items: How many will be run.
        subset: Which, where not all.
    """

    tasks: dict[str, Any]
    items: int
    subset: Subset | None


def load(benchmark: Benchmark, config: EvaluationConfig) -> Loaded:
    """Builds a benchmark's tasks with only their own folders indexed.

    Raises:
        UserError: Settings that would silently have no effect.
    """
    source = find_task(benchmark.task)
    overrides = _local_data(benchmark, config, source)
    with tempfile.TemporaryDirectory(prefix="bai_sweep_tasks") as folder:
        loaded = _build(source, overrides, config, Path(folder))
    for task in loaded["tasks"].values():
        _require_metric(task, benchmark)
        _set(task, benchmark, config)
    docs = {name: len(task.eval_docs) for name, task in loaded["tasks"].items()}
    log.info("%s: %d documents in %d tasks", benchmark.task, sum(docs.values()), len(docs))
    if config.subset is not None and config.subset < sum(docs.values()):
        subset = choose(loaded["tasks"], config.subset, config.seed)
        return Loaded(loaded, sum(map(len, subset.chosen.values())), subset)
    limit = benchmark.limit
    return Loaded(loaded, sum(size if limit is None else min(size, limit) for size in docs.values()), None)


def _local_data(benchmark: Benchmark, config: EvaluationConfig, source: TaskSource) -> dict[str, Mapping[str, Any]]:
    """Which files take the place of the hub's, by task; none where the hub is asked or the task knows of data_dir."""
    if benchmark.data not in LM_EVALS_OWN or (config.data_dir is None and not is_fetched(benchmark.data)):
        return {}
    there = lm_eval_overrides(benchmark.data, config.data_dir)
    chosen = {task: settings for task, settings in there.items() if task in source.tasks}
    if not chosen:
        raise UserError(
            f"data: {benchmark.data} is for lm-eval's tasks {', '.join(list(there)[:3])}, ...; {benchmark.task} is "
            "none of them; leave data out, and it loads its own from the hub"
        )
    return chosen


def _build(
    source: TaskSource, overrides: Mapping[str, Mapping[str, Any]], config: EvaluationConfig, folder: Path
) -> dict[str, Any]:
    """What lm-eval makes of a task, with other data for those of its tasks that `overrides` names."""
    from lm_eval.tasks import TaskManager

    folders, spec = [str(place) for place in source.folders], source.spec
    if overrides:
        # lm-eval takes other settings for a task it knows from the members of a group, and from nowhere else
        spec = f"local_{source.spec}"
        group = {
            "group": spec,
            "task": [{"task": task, **settings} for task, settings in overrides.items()],
            "aggregate_metric_list": [{"metric": metric, "weight_by_size": True} for metric in ("acc", "exact_match")],
        }
        (folder / f"{spec}.yaml").write_text(yaml.safe_dump(group), encoding="utf-8")
        folders.append(str(folder))
    metadata = {"data_dir": config.data_dir} if config.data_dir else {}
    manager = TaskManager(include_path=folders, include_defaults=False, metadata=metadata)
    loaded: dict[str, Any] = manager.load([spec])
    return loaded


def _require_metric(task: Any, benchmark: Benchmark) -> None:
    """Now, and not after every answer has been generated."""
    metrics, filters = list(task.aggregation()), [f.name for f in task._filters]
    if benchmark.metric not in metrics or benchmark.filter not in filters:
        raise UserError(
            f"task {task.config.task} has the metrics {', '.join(metrics)} and the filters {', '.join(filters)}; got "
            f"metric {benchmark.metric!r} and filter {benchmark.filter!r}"
        )


def _set(task: Any, benchmark: Benchmark, config: EvaluationConfig) -> None:
    if benchmark.num_fewshot is not None:
        task.set_config("num_fewshot", benchmark.num_fewshot)
    elif task.get_config("num_fewshot") is None:
        task.set_config("num_fewshot", 0)
    task.set_fewshot_seed(config.seed)
    sampled = {"temperature": benchmark.temperature, "top_p": benchmark.top_p, "repeats": benchmark.repeats}
    given = {name: value for name, value in sampled.items() if value is not None}
    if task.OUTPUT_TYPE != "generate_until":
        if given:
            raise UserError(
                f"{', '.join(given)}: only for tasks that generate; {benchmark.task} scores log-likelihoods; leave out"
            )
        return
    kwargs = dict(task.get_config("generation_kwargs"))
    if benchmark.temperature is not None:
        kwargs |= {"temperature": benchmark.temperature, "do_sample": benchmark.temperature > 0.0}
        kwargs.pop("top_p", None)
    if benchmark.top_p is not None:
        kwargs["top_p"] = benchmark.top_p
    task.set_config("generation_kwargs", kwargs)
    decoding = decoding_of(kwargs, config.max_new_tokens)
    if (benchmark.repeats or 1) > 1 and decoding.temperature == 0.0:
        raise UserError(f"greedy responses are all alike: repeats={benchmark.repeats} needs a temperature above 0")
    if benchmark.repeats is not None:
        _repeat(task, benchmark)


def _repeat(task: Any, benchmark: Benchmark) -> None:
    """Lets all k responses reach the task's scoring; its own filter would take as many as its YAML says."""
    from lm_eval.filters import build_filter_ensemble

    named = [f.name for f in task._filters]
    if named != ["none"]:
        raise UserError(
            f"repeats={benchmark.repeats} needs a task that scores several responses (filter take_first_k, named "
            f"none); {benchmark.task} has the filters {', '.join(named)}"
        )
    task.set_config("repeats", benchmark.repeats)
    task._filters = [build_filter_ensemble("none", [("take_first_k", {"k": benchmark.repeats})])]
