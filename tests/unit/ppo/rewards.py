"""Reward functions that the tests name in configurations; `calls` keeps what they were given."""

from __future__ import annotations

import asyncio
import math
from typing import Any

import numpy as np
import torch

calls: list[dict[str, Any]] = []


def share_of_a(completions: list[Any], **_: Any) -> list[float]:
    """The share of the word `a` in each completion."""
    words = [(c if isinstance(c, str) else c[0]["content"]).split() for c in completions]
    return [w.count("a") / max(1, len(w)) for w in words]


def noisy_share_of_a(completions: list[Any], **_: Any) -> list[float]:
    """The same with noise from shared generators (not Python's: beartype, which checks our types, draws from it)."""
    noise = np.random.normal(0, 0.1, len(completions)) + 0.1 * torch.rand(len(completions)).numpy()  # noqa: NPY002
    return [share + float(n) for share, n in zip(share_of_a(completions), noise, strict=True)]


def recording(**given: Any) -> list[float]:
    """0 for all."""
    calls.append(given)
    return [0.0] * len(given["completions"])


async def slow_two(completions: list[Any], **_: Any) -> list[float]:
    """2 for all, after a while."""
    await asyncio.sleep(0.001)
    return [2.0] * len(completions)


def odd_ones(completions: list[Any], **_: Any) -> list[float | None]:
    """None for every even row, 1 for the others."""
    return [1.0 if i % 2 else None for i in range(len(completions))]


def one_short(completions: list[Any], **_: Any) -> list[float]:
    """One reward too few."""
    return [0.0] * (len(completions) - 1)


def not_a_number(completions: list[Any], **_: Any) -> list[float]:
    """NaN for the last completion."""
    return [0.0] * (len(completions) - 1) + [math.nan]


def words(completions: list[Any], **_: Any) -> list[str]:
    """No numbers at all."""
    return ["good"] * len(completions)


def nothing(completions: list[Any], **_: Any) -> list[None]:
    """Never applies."""
    return [None] * len(completions)


def huge(completions: list[Any], **_: Any) -> list[float]:
    """Finite, but its square is not in fp32."""
    return [1e30 * i for i in range(len(completions))]
