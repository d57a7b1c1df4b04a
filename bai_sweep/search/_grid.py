"""The points of a study that no sampler chooses: a grid's, and those enqueued before a search."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import optuna

from bai_sweep.search._settings import SearchSettings
from bai_sweep.search._space import Space

GRID = "grid"  # a study's attribute: the points by index


def planned_points(study: optuna.Study, space: Space, settings: SearchSettings) -> Callable[[int], Mapping[str, Any]]:
    """Optuna's parameters of a point that is known beforehand, by its index; none where the sampler will choose."""
    encoded = study.user_attrs.get(GRID) or [space.encode(point) for point in settings.enqueue]

    def planned(index: int) -> Mapping[str, Any]:
        return encoded[index] if index < len(encoded) else {}

    return planned


def renumbered(old: list[dict[str, Any]], new: list[dict[str, Any]]) -> tuple[list[dict[str, Any]], set[int]]:
    """A grid on a study that has begun: old points keep their index, new ones follow.

    Returns:
        the parameters of all points by index, and the indices of those that are not in the new grid.
    """
    added = [point for point in new if point not in old]
    return [*old, *added], {index for index, point in enumerate(old) if point not in new}
