"""Rows that begin alike find each other, and every row is in one group."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from bai_sweep.generation._families import LEAST_TOKENS, Family, Prices, families

SYSTEM = list(range(100, 140))
FREE = Prices(budget=1, new_tokens=0)  # batches of one row: none has room to spare, so a group costs nothing


def row(header: int, own: int) -> list[int]:
    return [*SYSTEM, *([header] * 50), own, own + 1]


def test_each_header_is_a_family_though_all_share_a_system_prompt() -> None:
    rows = [row(header, own) for own in range(5) for header in (1, 2, 3)]
    found = families(rows, FREE)
    assert sorted(family.shared for family in found) == [90, 90, 90]
    for family in found:
        assert len({rows[i][50] for i in family.rows}) == 1


def test_the_system_prompt_alone_is_shared_where_headers_are_too_few() -> None:
    rows = [row(header, header) for header in range(6)]
    assert families(rows, FREE) == [Family(list(range(6)), len(SYSTEM))]


def repeated(prompts: int, times: int, tokens: int) -> list[list[int]]:
    return [[n] * tokens for n in range(prompts) for _ in range(times)]


def test_equal_prompts_with_long_responses_stand_in_common_batches() -> None:
    """AIME: 16 x 149 tokens are 2,235, and a batch of 99 rows that has 16 wastes 0.84 x 513 passes of 128 tokens."""
    rows = repeated(prompts=30, times=16, tokens=150)
    (together,) = families(rows, Prices(budget=65_536, new_tokens=512))
    assert (sorted(together.rows), together.shared) == (list(range(480)), 0)


def test_equal_prompts_that_fill_their_batches_stand_alone() -> None:
    rows = repeated(prompts=3, times=16, tokens=150)
    found = families(rows, Prices(budget=8 * (150 + 512), new_tokens=512))
    assert [(len(family.rows), family.shared) for family in found] == [(16, 149)] * 3


def test_what_is_shared_pays_for_an_unfilled_batch_where_it_is_long() -> None:
    """Two groups of 11 rows in batches of 20: each wastes 9 / 20 of 101 passes, 5,817 tokens; 11 rows save 10 s."""
    for shared, apart in ((581, False), (582, True)):
        rows = [[header] * shared + [10 + own] * (700 - shared) for header in (1, 2) for own in range(11)]
        found = families(rows, Prices(budget=20 * 800, new_tokens=100))
        assert [family.shared for family in found] == ([shared, shared] if apart else [0])


def test_the_group_of_the_longest_row_comes_first() -> None:
    rows = (
        [[1] * 40 + [k] for k in range(3)]
        + [[2] * 50 + [k] * 9 for k in range(3)]
        + [[3] * 45 + [k] for k in range(2)]
    )
    found = families(rows, FREE)
    assert [family.shared for family in found] == [50, 45, 40]


def test_one_token_is_left_of_equal_rows_and_of_a_row_that_others_begin_with() -> None:
    (equal,) = families([SYSTEM, SYSTEM], FREE)
    assert equal.shared == len(SYSTEM) - 1
    (prefix,) = families([SYSTEM, [*SYSTEM, 1, 2]], FREE)
    assert prefix.shared == len(SYSTEM) - 1


@given(
    st.lists(st.tuples(st.integers(0, 2), st.integers(0, 60), st.integers(1, 9)), max_size=25),
    st.integers(1, 400),
    st.integers(0, 3),
)
def test_every_row_is_in_one_group_and_has_its_shared_beginning(
    shapes: list[tuple[int, int, int]], budget: int, new_tokens: int
) -> None:
    rows = [[header] * length + [own] for header, length, own in shapes]
    found = families(rows, Prices(budget, new_tokens))
    assert sorted(i for family in found for i in family.rows) == list(range(len(rows)))
    for family in found:
        assert family.shared == 0 or (family.shared >= LEAST_TOKENS and len(family.rows) > 1)
        assert len({tuple(rows[i][: family.shared]) for i in family.rows}) <= 1
        assert all(len(rows[i]) > family.shared for i in family.rows)
    assert sum(family.shared == 0 for family in found) <= 1
