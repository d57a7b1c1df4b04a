"""A reward for the tests of TRL's trainers, which keeps what it was given."""

from __future__ import annotations

from typing import Any

import torch

calls: list[dict[str, Any]] = []


def spread(**given: Any) -> list[float]:
    """Something different for most completions, from their tokens alone."""
    calls.append(given)
    return values(given)


def values(given: dict[str, Any]) -> list[float]:
    """What `spread` gives."""
    return [sum(7 * token % 11 for token in ids) / len(ids) for ids in given["completion_ids"]]


def of_one_in_four(completions: list[Any], **_: Any) -> list[float | None]:
    """Applies to the first completion of each group of four only."""
    return [float(i) if i % 4 == 0 else None for i in range(len(completions))]


def largest(completions: list[Any], **_: Any) -> list[float]:
    """Finite, but a sum of them is not in fp32."""
    return [3e38 if i % 2 else -3e38 for i in range(len(completions))]


def drawing(**given: Any) -> list[float]:
    """The same, by a function that uses torch's global generator."""
    torch.rand(3)
    return spread(**given)
