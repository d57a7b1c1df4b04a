"""A merge that is planned: everything is opened, checked and chosen, no weight is merged."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, cast

from bai_sweep.merging._dtypes import DTYPES, storage
from bai_sweep.merging._plan import MergePlan, plan_merge
from bai_sweep.merging._types import Dtype, Member, Method
from bai_sweep.merging.command._settings import MergeSettings
from bai_sweep.merging.inputs import open_members, settings_of
from bai_sweep.merging.methods import method_of, recipe_of
from bai_sweep.records import MergeRecipe, UserError


@dataclass(frozen=True)
class Job:
    """What a merge reads, does and writes.

    Args:
        settings: What was asked for.
        members: The models that are read, open.
        plan: How they fit together.
        method: How their values become the merge's.
        recipe: The same for the record.
        dtype: Of the result.
        threads: How many work.
    """

    settings: MergeSettings
    members: Mapping[str, Member]
    plan: MergePlan
    method: Method
    recipe: MergeRecipe
    dtype: Dtype
    threads: int

    @property
    def parameters(self) -> int:
        """Of the result."""
        return sum(tensor.size for tensor in self.plan.tensors)

    @property
    def written(self) -> int:
        """Bytes of the result's weights."""
        return self.parameters * storage(self.dtype).itemsize

    @property
    def read_once(self) -> int:
        """Bytes of the files of all members, one that several share counted for each."""
        return sum(file.stat().st_size for member in self.members.values() for file in member.files)

    @property
    def read(self) -> int:
        """Bytes that the merge reads, with the method's passes before it."""
        return self.read_once * (1 + self.method.surveys)


@contextmanager
def planned(settings: MergeSettings) -> Iterator[Job]:
    """Opens and checks the models of a merge; they are closed on the way out.

    Raises:
        UserError: A model is not there or broken, or they do not fit together.
    """
    method = method_of(settings.actor)
    sources = settings.sources
    with open_members({name: sources[name] for name in method.members}, base=settings.base) as members:
        unread = settings_of({name: source for name, source in sources.items() if name not in members})
        plan = plan_merge(
            {name: members.get(name) or unread[name] for name in sources},
            tokenizer=settings.tokenizer_model,
            vocabulary=settings.vocabulary,
            missing_tokens=settings.missing_tokens,
        )
        yield Job(
            settings,
            members,
            plan,
            method,
            _recipe(settings, members),
            _dtype(settings, plan.config, members),
            settings.threads or _cores(),
        )


def _cores() -> int:
    """Those that this process may use."""
    affinity = getattr(os, "sched_getaffinity", None)  # not everywhere
    return len(affinity(0)) if affinity is not None else os.cpu_count() or 1


def _recipe(settings: MergeSettings, members: Mapping[str, Member]) -> MergeRecipe:
    """The record of the merge, its sources with the commits that are read."""
    return recipe_of({name: member.source for name, member in members.items()}, settings.actor)


def _dtype(settings: MergeSettings, config: Mapping[str, Any], members: Mapping[str, Member]) -> Dtype:
    """The one asked for, else the one that the tokenizer model's configuration names, else that of most weights."""
    nested = config.get("text_config") or {}
    for place in (config, nested):
        for key in ("dtype", "torch_dtype"):  # transformers 5, and before
            if (named := DTYPES.get(str(place.get(key)))) and not settings.dtype:
                return named
    if settings.dtype:
        return DTYPES[settings.dtype]
    stored = stored_dtypes(members.get(settings.tokenizer_model) or next(iter(members.values())))
    dtype = max(stored, key=lambda name: stored[name])
    if dtype not in DTYPES.values():
        raise UserError(f"a merge is written as {', '.join(DTYPES)}; the models hold {dtype}: set dtype=float32")
    return cast("Dtype", dtype)


def stored_dtypes(member: Member) -> Counter[str]:
    """How many elements a member stores in each dtype."""
    found: Counter[str] = Counter()
    for spec in member.tensors.specs.values():
        found[spec.dtype] += spec.size
    return found
