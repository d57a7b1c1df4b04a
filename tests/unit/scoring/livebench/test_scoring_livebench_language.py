"""LiveBench's language: expected scores worked out by hand from the official rules."""

import pytest

from bai_sweep.scoring.livebench import score
from bai_sweep.scoring.livebench._text import UnreadableAnswerError
from bai_sweep.scoring.livebench.language import (
    connections,
    connections_before_2024_11_25,
    plot_unscrambling,
    typos,
)

WORDS = "a, b, c, d, e, f, g, h"


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (f"<solution>{WORDS}</solution>", 1.0),
        ("<solution>H, g, F, e, d, c, b, a</solution>", 1.0),  # the order of groups and of words is free
        ("<solution>a, b, c, d, e, f, g, x</solution>", 0.5),
        ("<solution>a, b, c, e, d, f, g, h</solution>", 0.0),
        ("<solution>a, a, b, c, d, e, f, g, h</solution>", 1.0),  # a word that comes twice fills one place
        ("<solution>x, a, b, c, d, e, f, g, h</solution>", 0.0),  # one too many shifts the groups
        ("<solution>a, b,\nc, d, e, f, g, h</solution>", 1.0),
        ("<solution>x, y</solution><solution>a, b, c, d</solution><solution>e, f, g, h</solution>", 1.0),
        (f"</solution>{WORDS}</solution>", 1.0),
        (rf"\boxed{{\text{{{WORDS}}}}}", 1.0),
        (f"**{WORDS}**", 0.0),
    ],
)
def test_connections(answer: str, expected: float) -> None:
    assert connections(WORDS, answer) == expected


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (f"**{WORDS}**", 1.0),
        ("Try **a, b, c, d, x, f, g, h**, no: **a, b**", 0.5),
        ("**a,\nb, c, d**", 0.5),
        (f"<solution>{WORDS}</solution>", 0.0),
        ("", 0.0),
    ],
)
def test_connections_of_the_first_releases(answer: str, expected: float) -> None:
    assert connections_before_2024_11_25(WORDS, answer) == expected


def test_the_release_of_a_puzzle_says_which_rule_it_has() -> None:
    old, new = ({"ground_truth": WORDS, "livebench_release_date": date} for date in ("2024-08-31", "2024-11-25"))
    assert score("language", "connections", old, f"**{WORDS}**") == 1.0
    assert score("language", "connections", new, f"**{WORDS}**") == 0.0
    assert score("language", "connections", new, r"\boxed{a, b") == 0.0
    with pytest.raises(UnreadableAnswerError, match="does not"):
        connections(WORDS, r"\boxed{a, b")


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("We show that this works.", 1.0),
        ("Here it is:\nWe show that\n\nthis works.\nDone.", 1.0),  # lines are joined by spaces
        ("<solution>We show that this works.</solution>", 1.0),
        ("<solution>We show that this works.</solution><solution>We show this.</solution>", 0.0),
        ("We show that this works. <solution>no</solution>", 0.0),
        ("<solution>We show that\nthis works.</solution>", 1.0),  # tags on two lines are dropped
        ("Text: --- We show that this works. --- end", 1.0),
        ("We show that this works. --- not this --- end", 0.0),
        ("we show that this works.", 0.0),
    ],
)
def test_typos(answer: str, expected: float) -> None:
    assert typos("We show that this works.", answer) == expected


PLOT = "Anna leaves home. Bob follows her. They meet a bear. All is well."


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (PLOT, 1.0),
        (f"Sure. <PLOT_SUMMARY>{PLOT}</PLOT_SUMMARY> Bob follows her.", 1.0),
        (f"Sure. <PLOT_SUMMARY>\n{PLOT}\n**End of Plot Summary**.", 1.0),
        ("Bob follows her. Anna leaves home. They meet a bear. All is well.", 0.5),  # 1,0,2,3: two replacements
        ("All is well. Anna leaves home. Bob follows her. They meet a bear.", 0.5),  # 1,2,3,0: one out, one in
        ("Anna left home. Bob followed her. They met a bear. All is well.", 1.0),  # the most similar sentence
        ("Anna leaves home", 0.25),  # all four sentences are most like the only one: 0,0,0,0
        ("", 0.0),
    ],
)
def test_plot_unscrambling(answer: str, expected: float) -> None:
    assert plot_unscrambling(PLOT, answer) == pytest.approx(expected, abs=1e-12)


def test_a_task_is_scored_by_its_own_rule() -> None:
    assert score("language", "typos", {"ground_truth": "abc"}, "abc") == 1.0
    assert score("language", "plot_unscrambling", {"ground_truth": PLOT}, "Anna leaves home") == 0.25
