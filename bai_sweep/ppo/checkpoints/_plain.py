"""Values of any kind, as a dataset's columns may hold them, in what JSON can say."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any


def plain(value: Any) -> Any:
    """Lists, mappings with text as keys, text, finite numbers, None; equal values give equal ones in every process.

    Numbers that are not finite become text ("nan", "inf"), other mappings lists of pairs, and whatever else its repr
    without its address in memory. What has no order (a set, the keys of such a mapping) is ordered by its repr.
    """
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else str(float(value))
    if value is None or isinstance(value, str | int):
        return value
    if isinstance(value, Mapping):
        return _plain_mapping(value)
    if isinstance(value, list | tuple):
        return [plain(entry) for entry in value]
    if isinstance(value, set | frozenset):
        return _ordered(plain(entry) for entry in value)
    return re.sub(r" at 0x[0-9a-fA-F]+", "", repr(value))


def _plain_mapping(value: Mapping[Any, Any]) -> Any:
    if all(isinstance(key, str) for key in value):
        return {key: plain(entry) for key, entry in value.items()}
    return _ordered([plain(key), plain(entry)] for key, entry in value.items())


def _ordered(values: Any) -> list[Any]:
    return sorted(values, key=repr)
