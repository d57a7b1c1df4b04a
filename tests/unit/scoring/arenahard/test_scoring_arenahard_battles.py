"""From the verdicts of two games to battles and items, in either version."""

import pytest

from bai_sweep.scoring.arenahard import V01, V2, Protocol, battles_of, item_of


@pytest.mark.parametrize("protocol", [V01, V2])
@pytest.mark.parametrize(
    ("verdicts", "value", "battles"),
    [
        (("B>A", "A>B"), 1.0, 2),  # B in game 1 and A in game 2 are the model
        (("A>>B", "B>>A"), 0.0, 6),
        (("B>>A", "B>A"), 0.75, 4),
        (("A=B", "A=B"), 0.5, 2),
        (("A>>B", "A=B"), 0.125, 4),
        ((None, None), 0.0, 0),
    ],
)
def test_an_item_is_the_share_of_battles_won(
    protocol: Protocol, verdicts: tuple[str | None, str | None], value: float, battles: int
) -> None:
    item = item_of(verdicts, protocol, note="kept")
    assert (item.value, item.weight) == (value, battles)
    assert item.detail == {"verdicts": list(verdicts), "note": "kept"}


def test_a_game_without_verdict_costs_the_game_in_v01_and_the_question_in_v2() -> None:
    assert battles_of((None, "A>>B"), V01) == [1.0, 1.0, 1.0]
    assert battles_of(("A>B", None), V01) == [0.0]
    assert battles_of((None, "A>>B"), V2) == []
    assert item_of((None, "A>>B"), V2).weight == 0.0


def test_battles_are_listed_in_the_official_order() -> None:
    assert battles_of(("A>>B", "A=B"), V01) == [0.0, 0.0, 0.0, 0.5]  # game 1 first
    assert battles_of(("A>>B", "A=B"), V2) == [0.5, 0.0, 0.0, 0.0]  # game 2 first


@pytest.mark.parametrize(("label", "won"), [("A<<B", [0.0] * 3), ("A<B", [0.0]), ("B=A", [0.5]), ("B<A", [1.0])])
def test_v2_reads_labels_from_either_side(label: str, won: list[float]) -> None:
    assert V2.battles(label, model_is="A") == won
    assert V2.battles(label, model_is="B") == [1.0 - share for share in won]
