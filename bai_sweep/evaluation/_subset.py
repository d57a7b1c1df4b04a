"""A fixed choice of a benchmark's items, stratified: the cheap mode."""

from __future__ import annotations

import hashlib
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import Any

from bai_sweep.evaluation._items import document_id, stratum_of
from bai_sweep.statistics import allocate


@dataclass(frozen=True)
class Subset:
    """Which documents of each task are run, and how many there are in each stratum."""

    chosen: Mapping[str, list[int]]
    sizes: Mapping[Hashable, int]


def choose(tasks: Mapping[str, Any], count: int, seed: int) -> Subset:
    """Shares `count` items out among the strata by their sizes, at least one each.

    Within a stratum the items with the smallest digests of (seed, id) are taken: the choice does not depend on the
    order of the files, is the same for every model, and a larger subset contains a smaller one up to rounding.

    Args:
        tasks: lm-eval's, by name.
        count: Items of the whole benchmark.
        seed: Another seed chooses others.
    """
    ranked: dict[Hashable, list[tuple[bytes, str, int]]] = {}
    for task, loaded in tasks.items():
        for place, doc in enumerate(loaded.eval_docs):
            digest = hashlib.sha256(f"{seed}/{document_id(doc)}".encode()).digest()
            ranked.setdefault(stratum_of(task, doc), []).append((digest, task, place))
    sizes = {name: len(members) for name, members in ranked.items()}
    chosen: dict[str, list[int]] = {task: [] for task in tasks}
    for name, share in allocate(sizes, count).items():
        for _, task, place in sorted(ranked[name])[:share]:
            chosen[task].append(place)
    return Subset({task: sorted(places) for task, places in chosen.items()}, sizes)
