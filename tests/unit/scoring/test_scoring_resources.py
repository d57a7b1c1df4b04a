"""What a run provides to scoring: to its own block, to the threads it starts, and to nobody after it."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from bai_sweep.judging import Reply, Spending
from bai_sweep.records import UserError
from bai_sweep.scoring import Item, Resources, required_judge, resolved, resources, submit, using, weighted_mean


class Fixed:
    name = "fixed"

    def ask(self, messages: Any, **_: Any) -> Reply:
        return Reply("[[A]]", 1, 1, cached=False, model=self.name)

    def spent(self) -> Spending:
        return Spending()


def test_a_benchmark_without_a_judge_says_what_to_do() -> None:
    said = "X needs a judge .* set judge=openai, judge=local or judge=recorded, or leave it out"
    with using(Resources()), pytest.raises(UserError, match=said):
        required_judge("X", "leave it out")


def test_a_blocks_resources_reach_its_threads_and_end_with_it() -> None:
    judge = Fixed()
    with using(Resources(judge, threads=3)):
        assert required_judge("X", "") is judge
        found = [submit(lambda: Item(float(resources().judge is judge))) for _ in range(6)]
        with using(Resources()):
            assert resources().judge is None
        assert weighted_mean(found) == 1.0
    assert resources().judge is None


def test_what_has_not_begun_is_dropped_at_the_blocks_end() -> None:
    gate = threading.Event()

    def wait() -> Item:
        gate.wait(10.0)
        return Item(1.0)

    with using(Resources(threads=1)):
        first, second = submit(wait), submit(wait)
        threading.Timer(0.1, gate.set).start()
    assert resolved(first).value == 1.0
    assert second.cancelled()


def test_a_mean_by_weights_by_hand() -> None:
    """(3 * 1 + 1 * 0 + 1 * 0.5) / 5; plain numbers weigh 1."""
    assert weighted_mean([Item(1.0, 3.0), 0, 0.5]) == pytest.approx(0.7)
    assert weighted_mean([Item(1.0, 0.0)]) != weighted_mean([Item(1.0, 0.0)])  # NaN
