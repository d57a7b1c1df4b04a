"""A subset is fixed, stratified, and the same whatever the files' order."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Any

from bai_sweep.evaluation._subset import choose


@dataclass
class _Task:
    eval_docs: list[dict[str, Any]]


def docs(task: str, count: int, **more: Any) -> list[dict[str, Any]]:
    return [{"id": f"{task}{i}", **more} for i in range(count)]


def names(tasks: dict[str, _Task], chosen: Any) -> set[str]:
    return {tasks[task].eval_docs[place]["id"] for task, places in chosen.items() for place in places}


def test_shares_by_task_at_least_one_each() -> None:
    tasks = {"a": _Task(docs("a", 600)), "b": _Task(docs("b", 390)), "c": _Task(docs("c", 10))}
    subset = choose(tasks, 20, seed=0)
    assert {task: len(places) for task, places in subset.chosen.items()} == {"a": 12, "b": 7, "c": 1}
    assert subset.sizes == {"a": 600, "b": 390, "c": 10}
    assert all(places == sorted(places) for places in subset.chosen.values())


def test_the_choice_does_not_depend_on_the_order_and_a_seed_changes_it() -> None:
    ordered = {"a": _Task(docs("a", 300))}
    shuffled = {"a": _Task(random.Random(0).sample(ordered["a"].eval_docs, 300))}
    picked = names(ordered, choose(ordered, 30, seed=0).chosen)
    assert picked == names(shuffled, choose(shuffled, 30, seed=0).chosen)
    assert picked != names(ordered, choose(ordered, 30, seed=1).chosen)
    assert picked < names(ordered, choose(ordered, 60, seed=0).chosen)


def test_a_documents_stratum_divides_its_task() -> None:
    rows = docs("p", 90, stratum="physics") + docs("l", 10, stratum="law")
    subset = choose({"t": _Task(rows)}, 10, seed=0)
    assert subset.sizes == {"t/physics": 90, "t/law": 10}
    assert sum(place >= 90 for place in subset.chosen["t"]) == 1
