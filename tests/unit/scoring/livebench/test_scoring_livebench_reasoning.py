"""LiveBench's reasoning: expected scores worked out by hand from the official rules."""

import pytest

from bai_sweep.scoring.livebench import score
from bai_sweep.scoring.livebench._text import UnreadableAnswerError
from bai_sweep.scoring.livebench.reasoning import spatial, web_of_lies, zebra, zebra_before_2024_11_25

PUZZLE = "1, filmmaking, police-officer, journalist"


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (f"<solution>{PUZZLE}</solution>", 1.0),
        ("<solution>position 1,Filmmaking ,police officer,the journalist</solution>", 1.0),
        ("<solution>2, filmmaking, police-officer, journalist</solution>", 0.375),  # (0 + 3/4) / 2
        ("<solution>1, collecting</solution>", 0.125),
        ("<solution>filmmaking, 1, journalist, police-officer</solution>", 0.0),
        (
            "<solution>9</solution><solution>1, filmmaking</solution> <solution>police-officer, journalist</solution>",
            1.0,
        ),
        (f"</solution>{PUZZLE}</solution>", 1.0),
        (rf"\boxed{{\text{{{PUZZLE}}}}}", 1.0),
        (f"My answers are:\n{PUZZLE}\n", 1.0),
        ("<solution>\n1\n</solution>", 0.0),  # not on one line, and the last line has no three commas
        ("1, filmmaking", 0.0),
    ],
)
def test_a_zebra_puzzle(answer: str, expected: float) -> None:
    assert zebra(PUZZLE, answer) == expected


def test_the_word_position_is_taken_out_of_an_answer_even_within_another() -> None:
    assert zebra("at 1", "<solution>at position1</solution>") == 1.0
    assert zebra("composition", "<solution>composition</solution>") == 0.0


@pytest.mark.parametrize(
    ("truth", "answer", "expected"),
    [
        ("3", "so ***1***, no, ***3*** it is", 1.0),
        ("three", "***3***", 1.0),
        ("3", "***three***", 0.0),
        ("horror movies", "***Horror***", 1.0),
        ("tea", "They drink tea.", 1.0),
        ("tea", "***coffee*** rather than tea", 0.0),
        ("tea", "", 0.0),
    ],
)
def test_a_zebra_puzzle_of_the_first_releases(truth: str, answer: str, expected: float) -> None:
    assert zebra_before_2024_11_25(truth, answer) == expected


@pytest.mark.parametrize(("date", "expected"), [("2024-06-24", 1.0), ("2024-11-25", 0.0)])
def test_the_release_of_a_puzzle_says_which_rule_it_has(date: str, expected: float) -> None:
    question = {"ground_truth": "tea", "livebench_release_date": date}
    assert score("reasoning", "zebra_puzzle", question, "***tea*** I say\nor, not") == expected


@pytest.mark.parametrize(
    ("truth", "answer", "expected"),
    [
        ("12", "12", 1.0),
        ("12", "**12**", 1.0),
        ("12", "**twelve**", 1.0),
        ("12", "**12** of **a**, **b**", 1.0),
        ("12", "**12** of **a**, **b**, **c**", 0.0),  # not among the last three
        ("12", "12.", 0.0),
        ("12", r"$\boxed{\textbf{12}}$", 1.0),
        ("12", r"**11** or $\boxed{12}$", 1.0),
        ("triangle", "**equilateral triangle**", 1.0),  # 20 characters, fewer than 2 * 8 + 5
        ("triangle", "**circle square triangle**", 0.0),
        ("tetrahedra", "**Two tetrahedra**", 1.0),
        ("circle", "**a circle**", 0.0),  # only four shapes may be part of a phrase
    ],
)
def test_a_spatial_question(truth: str, answer: str, expected: float) -> None:
    assert spatial(truth, answer) == expected


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("**yes, no, yes**", 1.0),
        ("<solution>yes, no, yes</solution> **no, no, no**", 1.0),
        ("<solution>so yes, no, yes</solution>", 1.0),
        ("<solution>yes,no,yes</solution>", 0.0),  # three words but not as in the reference
        ("</solution>yes, no, yes</solution>", 1.0),
        ("First **no**. Then **Yes**, **no** and **yes.**", 1.0),
        ("**yes**, **no**", 0.0),
        (r"$\boxed{yes, no, yes}$", 1.0),
        (r"$\textbf{yes, no, yes}$", 1.0),
        ("It is not no, no, no but Yes, no, yes", 1.0),
        ("It is not yes, no, yes but no, no, no", 0.0),
        ("<solution> </solution> yes, no, yes", 0.0),
        ("perhaps", 0.0),
    ],
)
def test_a_web_of_lies(answer: str, expected: float) -> None:
    assert web_of_lies("yes, no, yes", answer) == expected


def test_an_unknown_verdict_has_to_be_given_exactly() -> None:
    # "unknown" holds a "no": four verdicts are counted, so only equality is left
    assert web_of_lies("yes, unknown, no", "**yes, unknown, no**") == 1.0
    assert web_of_lies("yes, unknown, no", "<solution>so yes, unknown, no</solution>") == 0.0


@pytest.mark.parametrize("task", ["spatial", "web_of_lies_v2", "zebra_puzzle"])
def test_a_box_that_the_official_scorer_fails_on_scores_nothing(task: str) -> None:
    question = {"ground_truth": "3", "livebench_release_date": "2024-11-25"}
    assert score("reasoning", task, question, "\\boxed\n{3}") == 0.0
    with pytest.raises(UnreadableAnswerError, match="command and a group"):
        spatial("3", "\\boxed\n{3}")
