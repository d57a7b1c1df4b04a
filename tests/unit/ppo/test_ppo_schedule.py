"""Learning rates by hand."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from bai_sweep.ppo.formulas import learning_rate_factor

Make = Callable[..., Any]


@pytest.mark.parametrize(
    ("schedule", "warmup", "factors"),
    [
        ("constant", 0, [1.0, 1.0, 1.0, 1.0]),
        ("constant", 3, [0.25, 0.5, 0.75, 1.0]),
        ("linear", 0, [1.0, 0.75, 0.5, 0.25]),
        ("linear", 1, [0.5, 1.0, 2 / 3, 1 / 3]),
        ("cosine", 0, [1.0, 0.5 + 0.5**1.5, 0.5, 0.5 - 0.5**1.5]),  # cos(pi / 4) = sqrt(1 / 2)
    ],
)
def test_by_hand(make_settings: Make, schedule: str, warmup: int, factors: list[float]) -> None:
    settings = make_settings(steps=4, lr_schedule=schedule, lr_warmup_steps=warmup)
    got = [learning_rate_factor(settings, step, 4) for step in (1, 2, 3, 4)]
    assert got == pytest.approx(factors, abs=1e-12)


def test_no_rate_before_the_schedule_begins(make_settings: Make) -> None:
    assert learning_rate_factor(make_settings(lr_warmup_steps=2), -1, 4) == 0.0


def test_the_actors_schedule_begins_after_the_critics_warmup(
    networks_of: Make, make_settings: Make, alone: Any
) -> None:
    import torch

    from bai_sweep.ppo._update import Updater

    settings = make_settings(steps=6, critic_warmup_steps=2, lr_schedule="linear")
    updater = Updater(networks_of(settings), settings, torch.Generator(), alone)
    rates = [updater._set_learning_rates(step) for step in range(1, 7)]
    assert [r["lr"] for r in rates] == pytest.approx([0.0, 0.0, 1e-3, 0.75e-3, 0.5e-3, 0.25e-3])
    assert [r["lr/critic"] for r in rates] == pytest.approx([1e-3 * (1 - k / 6) for k in range(6)])
