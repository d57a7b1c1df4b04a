"""From lm-eval's results to one record an item: what it scored, how much it weighs, what it belongs to."""

from __future__ import annotations

import hashlib
import json
import math
from collections import Counter
from collections.abc import Hashable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from numbers import Real
from typing import Any

from bai_sweep.config import Benchmark
from bai_sweep.records import UserError
from bai_sweep.scoring import Item


@dataclass(frozen=True)
class ItemRecord:
    """One item of a benchmark, scored.

    Args:
        task: The lm-eval task it is of.
        doc_id: Its place in that task's documents.
        id: Its own name within the task: the document's `id`, or a digest of the document; the same in every run.
        cluster: What it was drawn together with (the document's `cluster`, within the task), by default itself.
        stratum: The part of the benchmark that a subset takes its share from: task, and the document's `stratum`.
        own_weight: What scoring it gave: the battles that were fought over it.
        share: What one unit of that counts in the benchmark, by its task's part in it and, of a subset, by how many
            items it stands for. Of any scale.
        points: From 0 to 100.
        sample: What lm-eval keeps of it: prompt, responses, target.
        detail: What scoring it found.
    """

    task: str
    doc_id: int
    id: str
    cluster: str
    stratum: str
    own_weight: float
    share: float
    points: float
    sample: Mapping[str, Any]
    detail: Mapping[str, Any]

    @property
    def weight(self) -> float:
        """In the benchmark's mean."""
        return self.own_weight * self.share


def items_of(
    benchmark: Benchmark,
    results: Mapping[str, Any],
    loaded: Mapping[str, Any],
    sizes: Mapping[Hashable, int] | None = None,
) -> tuple[ItemRecord, ...]:
    """Every item of a benchmark, by task and in document order.

    Args:
        benchmark: Says which metric and filter count.
        results: What `lm_eval.evaluator.evaluate` returned with `log_samples=True`.
        loaded: The tasks and groups that ran, as `TaskManager.load` returns them.
        sizes: Of a subset, how many items each stratum has in all; None where all were run.

    Raises:
        UserError: The task has no such metric and filter, or one that is not a mean of values from 0 to 1.
    """
    counted = {
        task: [sample for sample in samples if sample["filter"] == benchmark.filter]
        for task, samples in results["samples"].items()
    }
    parts = _task_parts(benchmark, loaded, {task: len(samples) for task, samples in counted.items()})
    records: list[ItemRecord] = []
    for task, samples in counted.items():
        values = _values(task, benchmark, samples, results)
        strata = [stratum_of(task, sample["doc"]) for sample in samples]
        shares = [1.0] * len(samples)
        if sizes is not None:
            taken = Counter(strata)
            shares = [sizes[name] / taken[name] for name in strata]
        if parts is not None:
            total = math.fsum(item.weight * share for item, share in zip(values, shares, strict=True))
            shares = [parts[task] * share / total for share in shares]
        names = _names([document_id(sample["doc"]) for sample in samples])
        records += [_record(task, *of_one) for of_one in zip(samples, values, names, strata, shares, strict=True)]
    return tuple(records)


def key_of_metric(benchmark: Benchmark) -> str:
    """How lm-eval names the metric that counts."""
    return f"{benchmark.metric},{benchmark.filter}"


def document_id(doc: Mapping[str, Any]) -> str:
    """The document's own `id`, or the first 16 digits of the SHA-256 of its JSON."""
    if (given := doc.get("id")) is not None:
        return str(given)
    text = json.dumps(doc, sort_keys=True, default=str, ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def stratum_of(task: str, doc: Mapping[str, Any]) -> str:
    """The task, and within it the document's own `stratum` if it has one."""
    return f"{task}/{doc['stratum']}" if doc.get("stratum") else task


def _names(ids: Sequence[str]) -> list[str]:
    """Ids made different where documents are the same: the second `a` is `a#2`."""
    times: Counter[str] = Counter()
    names = []
    for name in ids:
        times[name] += 1
        names.append(name if times[name] == 1 else f"{name}#{times[name]}")
    return names


def _record(  # noqa: PLR0917 - what zip gives
    task: str, sample: Mapping[str, Any], item: Item, name: str, stratum: str, share: float
) -> ItemRecord:
    cluster = sample["doc"].get("cluster")
    return ItemRecord(
        task=task,
        doc_id=sample["doc_id"],
        id=name,
        cluster=f"{task}/{name if cluster in (None, '') else cluster}",
        stratum=stratum,
        own_weight=item.weight,
        share=share,
        points=100.0 * item.value,
        sample=sample,
        detail=item.detail,
    )


def _values(
    task: str, benchmark: Benchmark, samples: Sequence[Mapping[str, Any]], results: Mapping[str, Any]
) -> list[Item]:
    key, aggregated = key_of_metric(benchmark), results["results"][task]
    if key not in aggregated:
        known = ", ".join(sorted(k for k in aggregated if "," in k and "_stderr" not in k))
        raise UserError(f"task {task} has the metrics {known} ('metric,filter'); got {key!r}")
    items = list(_checked(task, key, [sample.get(benchmark.metric) for sample in samples]))
    total = math.fsum(item.weight for item in items)
    if not total > 0.0:
        raise UserError(f"a score needs an item that counts; none of the {len(items)} of task {task} has a weight")
    mean = math.fsum(item.weight * item.value for item in items) / total
    if not math.isclose(mean, aggregated[key], abs_tol=1e-9):
        raise UserError(
            f"a score is the mean of its items; {key} of task {task} is aggregated to {aggregated[key]:g} where the "
            f"mean is {mean:g}; choose a metric with `aggregation: mean`"
        )
    return items


def _checked(task: str, key: str, values: Sequence[Any]) -> Iterator[Item]:
    for value in values:
        scored = value.result() if isinstance(value, Future) else value
        item = Item(float(scored)) if isinstance(scored, Real) else scored if isinstance(scored, Item) else None
        if item is None or not 0.0 <= item.value <= 1.0:
            shown = item.value if item is not None else scored
            raise UserError(f"a score needs a value from 0 to 1 for every item; {key} of task {task} has {shown!r}")
        yield item


def _task_parts(benchmark: Benchmark, loaded: Mapping[str, Any], counts: Mapping[str, int]) -> dict[str, float] | None:
    """What each task is of a benchmark whose groups average over tasks; None where every item counts alike.

    Groups within groups are averaged level by level, as authors average them (LiveBench: tasks, then categories);
    lm-eval itself averages over all tasks below a group, whatever groups are between.
    """
    groups = loaded.get("groups") or {}
    if not any(_averages_tasks(group, benchmark.metric) for group in groups.values()):
        return None
    children = {name for group in groups.values() for name in group.child_names}
    tops = [group for name, group in groups.items() if name not in children]
    parts: dict[str, float] = {}
    for top in tops:
        _divide(top, 1.0 / len(tops), benchmark.metric, counts, parts)
    return parts


def _divide(node: Any, part: float, metric: str, counts: Mapping[str, int], parts: dict[str, float]) -> None:
    """Hands a group's part down to its tasks, evenly or by their items, as its aggregation says."""
    if not hasattr(node, "child_names"):
        parts[node.task_name] = parts.get(node.task_name, 0.0) + part
        return
    sizes = [(child, sum(counts.get(name, 0) for name in tasks_below(child))) for child in node]
    ran = [(child, count) for child, count in sizes if count]
    total = sum(count for _, count in ran)
    even = _averages_tasks(node, metric)
    for child, count in ran:
        _divide(child, part / len(ran) if even else part * count / total, metric, counts, parts)


def tasks_below(node: Any) -> set[str]:
    """The names of a group's tasks at any depth; a task's own."""
    if hasattr(node, "child_names"):
        return {name for child in node for name in tasks_below(child)}
    return {node.task_name}


def _averages_tasks(group: Any, metric: str) -> bool:
    rules = [rule for rule in group.aggregate_metric_list or () if rule.metric == metric]
    return any(not rule.weight_by_size for rule in rules)
