"""Expected lengths, by hand."""

from __future__ import annotations

import pytest

from bai_sweep.generation import in_order
from bai_sweep.generation._batches import FEW, GUESS, MARGIN, Lengths


def known(*lengths: int) -> Lengths:
    found = Lengths()
    for row, length in enumerate(lengths):
        found.note(row, length)
    return found


def test_a_guess_stands_in_for_what_is_not_known() -> None:
    assert Lengths().expected(0, 4000).tolist() == [GUESS * MARGIN]
    assert Lengths().expected(0, 30).tolist() == [30]
    assert known(*[9] * (FEW - 1)).expected(0, 4000).tolist() == [GUESS * MARGIN]
    assert known(*[9] * 20).expected(3000, 9000).tolist() == [3000 * MARGIN]  # who has come far goes far


def test_known_lengths_count_beyond_what_is_drawn() -> None:
    lengths = known(5, *[40] * 8, *[100] * 2)
    assert lengths.expected(30, 1000).tolist() == pytest.approx([11.0] * 8 + [77.0] * 2)
    assert lengths.expected(30, 50).tolist() == pytest.approx([11.0] * 8 + [50.0] * 2)


def test_a_rows_positions_are_those_of_the_batchs_peak() -> None:
    """8 of 10 rows end after 11 tokens, when all are there: 100 + 11 each; 2 after 880, then 0.2 x 980 each."""
    lengths = known(*[10] * 8, *[800] * 2)
    assert lengths.positions(100, 0, 5000) == 196
    assert lengths.positions(100, 0, 300) == 111
    assert known(*[10] * 10).positions(100, 0, 5000) == 111


def test_a_suspended_row_counts_as_far_as_it_has_come() -> None:
    lengths = known(*[10] * 10)
    lengths.note(0, 20)
    lengths.note(0, 30)
    assert lengths.expected(0, 1000).max() == 30 * MARGIN


def test_answers_come_in_the_order_of_the_requests() -> None:
    assert in_order([[(2, "c"), (0, "a")], [], [(1, "b")]]) == ["a", "b", "c"]
