"""What makes two runs of a study one study: the search space, the objective, and what all trials have in common."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from bai_sweep.config import TrialConfig

# How, where and how fast trials run and what is done with their results: nothing that a result depends on. Tracking
# may hold an address with a password, which belongs into no study's record.
_NOT_COMPARED = frozenset(
    (
        *("study", "resume", "force", "workers", "threads", "device", "results_dir"),
        *("save_merge", "save_actor", "selection", "tracking"),
    )
)
_PLACES = ("evaluation.cache_dir", "evaluation.data_dir")  # where a machine has what all machines have


_ABSENT = "not fixed"  # not there, or different from trial to trial


def common_settings(configs: Sequence[TrialConfig]) -> dict[str, Any]:
    """The values that all of these configurations have, by dotted key.

    Of a search space's points these are the settings that are neither swept nor follow from swept ones.
    """
    first, *others = (dict(_leaves(c.model_dump(mode="json", exclude=set(_NOT_COMPARED)))) for c in configs)
    return {
        key: value
        for key, value in first.items()
        if key not in _PLACES and all(key in o and o[key] == value for o in others)
    }


def differences(known: Mapping[str, Any], asked: Mapping[str, Any]) -> list[str]:
    """A line for each key whose value has changed."""
    keys = [*known, *(key for key in asked if key not in known)]
    return [
        f"  {key}: {known.get(key, _ABSENT)} before, {asked.get(key, _ABSENT)} now"
        for key in keys
        if known.get(key, _ABSENT) != asked.get(key, _ABSENT)
    ]


def _leaves(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in tree.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value
