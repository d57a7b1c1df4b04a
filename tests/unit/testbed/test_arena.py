"""The arena's judge reads claims, keeps to ArenaHard's verdicts, and does not care for the order."""

import random

import pytest

from bai_sweep.testbed import arena_items, battles, judge
from bai_sweep.testbed._arena import quality
from bai_sweep.testbed._arithmetic import draw_problem
from bai_sweep.testbed._teacher import contrast, describe, explain, response
from bai_sweep.testbed._world import world

ONE, OTHER, THIRD = world().entities[:3]
DESCRIBE = {"kind": "describe", "entities": [ONE], "problem": ""}
COMPARE = {"kind": "compare", "entities": [ONE, OTHER], "problem": ""}
EXPLAIN = {"kind": "explain", "entities": [], "problem": "49 - 7 + 8"}
WHOLE = describe(ONE, random.Random(0))
CLAUSES = [fact.clause for fact in world().facts[ONE]]


@pytest.mark.parametrize(
    ("answer", "worth"),
    [
        (WHOLE, 1.0),
        (f"<think> about it. </think> {WHOLE}", 1.0),
        (f"<think> {WHOLE}", 0.0),
        (f"{ONE} {CLAUSES[0]}.", 0.2),
        (f"{ONE} {CLAUSES[0]} and {CLAUSES[0]}.", 0.2),
        (f"{OTHER} {CLAUSES[0]}.", 0.0),
        (f"{ONE} wears nothing.", -0.2),
        (WHOLE.rstrip("."), 0.7),
        (f"{WHOLE} {WHOLE}", 0.7),
        ("", -0.3),
    ],
)
def test_a_description_is_worth_its_true_claims(answer: str, worth: float) -> None:
    assert quality(DESCRIBE, answer) == pytest.approx(worth)


def test_a_comparison_needs_both_sides() -> None:
    text = contrast(ONE, OTHER, random.Random(0))
    assert quality(COMPARE, text) == 1.0
    assert quality(COMPARE, f"{ONE} {CLAUSES[0]}.") == pytest.approx(1 / 6)
    assert quality(COMPARE, contrast(THIRD, THIRD, random.Random(0))) == pytest.approx(-0.0)


@pytest.mark.parametrize(
    ("answer", "worth"),
    [
        ("first 49 - 7 = 42. then 42 + 8 = 50. the answer is 50.", 1.0),
        ("first 49 - 7 = 42. then 42 + 8 = 51. the answer is 50.", 0.75 - 1 / 3),
        ("the answer is 50.", 0.5),
        ("first 49 - 7 = 42.", 0.5),
        ("the answer is 51.", 0.0),
    ],
)
def test_an_explanation_is_worth_its_steps_and_its_result(answer: str, worth: float) -> None:
    assert quality(EXPLAIN, answer) == pytest.approx(worth)


def test_a_taught_explanation_is_perfect() -> None:
    problem = draw_problem(random.Random(5))
    item = {"kind": "explain", "entities": [], "problem": problem.text}
    assert quality(item, response("steps first then answer.", explain(problem))) == 1.0


@pytest.mark.parametrize(
    ("answer", "verdict", "won", "fought"),
    [
        (WHOLE, "A=B", 1.0, 2),
        (f"{ONE} {', '.join(CLAUSES[:4])}.", "B>A", 0, 2),
        (f"{ONE} {CLAUSES[0]}.", "B>>A", 0, 6),
    ],
)
def test_verdicts_and_battles(answer: str, verdict: str, won: float, fought: int) -> None:
    assert judge(DESCRIBE, answer, WHOLE) == verdict
    assert battles(DESCRIBE, answer, WHOLE) == (won, fought)
    assert battles(DESCRIBE, WHOLE, answer) == (fought - won, fought)


def test_exchanging_the_answers_mirrors_the_verdict() -> None:
    mirrored = {"A>>B": "B>>A", "A>B": "B>A", "A=B": "A=B", "B>A": "A>B", "B>>A": "A>>B"}
    answers = [WHOLE, f"{ONE} {CLAUSES[0]}.", f"{ONE} {', '.join(CLAUSES[:4])}.", "", "hm"]
    for a in answers:
        for b in answers:
            assert judge(DESCRIBE, b, a) == mirrored[judge(DESCRIBE, a, b)]


def test_items_are_of_three_kinds_and_always_the_same() -> None:
    kinds = [item["kind"] for item in arena_items()]
    assert len(kinds) == 60
    assert all(kinds.count(kind) == 20 for kind in ("describe", "compare", "explain"))
    assert arena_items() == arena_items()
