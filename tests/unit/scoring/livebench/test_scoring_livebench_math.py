"""LiveBench's mathematics: expected scores worked out by hand from the official rules."""

from pathlib import Path

import pytest

from bai_sweep.records import UserError
from bai_sweep.scoring.livebench import score
from bai_sweep.scoring.livebench._text import UnreadableAnswerError, boxed, edit_distance
from bai_sweep.scoring.livebench.math import equivalent, integer, multiple_choice, olympiad, symbolic

OPTIONS = (
    r"What is 3+4? $\textbf{(A) } 6 \qquad \textbf{(B) }7\qquad\textbf{(C)}~8 "
    r"\qquad\textbf{(D) }9\qquad\textbf{(E) }\frac{1}{2}$"
)


@pytest.mark.parametrize(
    ("text", "content"),
    [
        (r"\boxed{1} and \boxed{\frac{1}{2}}.", r"\frac{1}{2}"),
        (r"\boxed 7$ and \boxed{8}", "7"),  # one without braces goes first, up to the dollar sign
        (r"\boxed 6$ or $\boxed 7$", "7"),
        (r"\fbox{3}", "3"),
        (r"\fbox{3} \boxed{4} \fbox{5}", "4"),
        (r"\boxed{$x$}", "x"),
        (r"\boxed{1", None),
        ("1", None),
        (r"\boxed{\fbox{3}}", r"\boxed{3}"),
    ],
)
def test_the_last_box(text: str, content: str | None) -> None:
    assert boxed(text) == content


def test_a_box_with_something_before_its_brace_is_unreadable() -> None:
    with pytest.raises(UnreadableAnswerError, match="command and a group"):
        boxed("\\boxed\n{3}")


@pytest.mark.parametrize(
    ("a", "b", "distance"),
    [("kitten", "sitting", 3), ("", "abc", 3), ("abc", "", 3), ([1, 2, 3], [2, 3, 1], 2), ([], [], 0)],
)
def test_edit_distance(a: str, b: str, distance: int) -> None:
    assert edit_distance(a, b) == distance


@pytest.mark.parametrize(
    "answer",
    [
        "<solution>B</solution>",
        "<solution>bbb</solution> and then much more text",
        "BBBBB, as I repeat it five times.",
        "So it is BBBB and nothing else matters in this long line.",
        r"Therefore $\boxed{\text{B}}$, which is the second of the options.",
        "The sum is clearly 7.",
        "Sum:\n**B**",
        "It must be\nthe second option (B) - as was to be shown at the beginning",
    ],
)
def test_a_letter_is_found_by_any_rule(answer: str) -> None:
    assert multiple_choice("B", answer, OPTIONS) == 1.0


@pytest.mark.parametrize(
    "answer",
    [
        "<solution>BC</solution>",
        "<solution>B</solution><solution>C</solution>",
        "BBB",
        r"\boxed{C}",
        "7 is what the sum is, I think, all in all.",  # the value counts within the last 21 characters only
        "(A) or (B)",
        "",
    ],
)
def test_another_answer_is_no_letter(answer: str) -> None:
    assert multiple_choice("B", answer, OPTIONS) == 0.0


def test_an_option_that_is_a_formula_counts_by_its_value() -> None:
    assert multiple_choice("E", r"thus $\frac{1}{2}$", OPTIONS) == 1.0
    assert multiple_choice("C", "it equals 8", OPTIONS) == 1.0  # ~8 is 8


def test_a_reference_that_is_no_letter_is_refused() -> None:
    with pytest.raises(UserError, match="from A to E; got 'F'"):
        multiple_choice("F", "F", OPTIONS)


def test_an_integer_counts_within_the_last_fifty_characters() -> None:
    assert integer("073", "x" * 100 + "073" + "y" * 47) == 1.0
    assert integer("073", "x" * 100 + "073" + "y" * 48) == 0.0
    assert integer("073", "73") == 0.0


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("Answer: 3, 1, 2, 4", 1.0),
        ("**Answer:** $3$, \\boxed{1}, <2>, expression 4.", 1.0),
        ("Answer: 9\nso, finally\nAnswer:\n3, 1, 2, 4", 1.0),
        ("Answer: 1, 3, 2, 4", 0.5),  # two replacements of four
        ("Answer: 3, 1, 2", 0.75),
        ("Answer: 3, 1, 2, 4, 5", 0.8),
        ("Answer: 3, one, 2, 4", 0.75),
        (r"Hence \boxed{\text{3, 1, 2, 4}}", 1.0),
        ("I say\n<missing 3>, 1, 2 and so on, 4", 1.0),  # last line: the first digits of each part
        ("Answer: none\n3,1,2,4", 1.0),
        ("Answer: none 3, x1, 2, 4\nyes.", 0.75),  # no last word is a number but three are: 3 is lost
    ],
)
def test_the_order_of_an_olympiad_solution(answer: str, expected: float) -> None:
    assert olympiad("3,1,2,4", answer) == pytest.approx(expected, abs=1e-12)


def test_no_list_at_all_has_no_order() -> None:
    assert olympiad("1,2", "I do not know") == 0.0
    with pytest.raises(UnreadableAnswerError, match="got '5²'"):
        olympiad("1,2", "answer: 5², yes\n²")


@pytest.mark.parametrize(
    ("truth", "answer", "expected"),
    [
        ("5 (-x-20) x", r"$\boxed{-5x(x+20)}$", 1.0),
        (r"6 \left(x-\frac{1}{3}\right)^2", r"\[\boxed{6\left(x-\dfrac{1}{3}\right)^2 + C}\]", 1.0),
        (r"-\lambda ^2+1", r"so $p(\lambda) = 1-\lambda^2$", 1.0),
        ("2 x", "$$y = x = 3x$$", 0.0),
        (r"\frac{29}{\sqrt{2}}", r"\boxed{\frac{29\sqrt{2}}{2}}", 1.0),
        (r"\sqrt{2}", r"\boxed{1.4145}", 1.0),  # off by 0.00029
        (r"\sqrt{2}", r"\boxed{1.4162}", 0.0),  # off by 0.0020
        ("1234567", r"\boxed{1,234,567}", 1.0),
        ("8", "The determinant is 8.", 1.0),
        ("8", "The determinant is 8!", 0.0),
        (r"\log (5 x)", r"\boxed{\ln(5x)}", 1.0),
        (r"\text{$\$$Aborted}", r"\boxed{x}", 0.0),
        ("x", r"\boxed{\}}", 0.0),
    ],
)
def test_formulas_are_compared_by_what_they_mean(truth: str, answer: str, expected: float) -> None:
    assert symbolic(truth, answer) == expected


def test_a_formula_that_lark_cannot_read_is_read_otherwise() -> None:
    squared = r"\frac{2 \sec ^2(x) x}{\log ^2(5 x)}"
    assert equivalent(squared, r"\frac{2x}{\cos^2(x)\ln^2(5x)}")
    assert not equivalent(squared, r"\frac{3x}{\cos^2(x)\ln^2(5x)}")


def test_a_comparison_has_a_limit_and_the_next_one_is_served() -> None:
    hard = r"-\sin (7) \sin (8 x)-\cos (7) \cos (8 x)+\tan (5 x+1)"
    assert not equivalent(hard, r"\tan (5 x+1)+\cos (7-8 x)", seconds=1.0)
    assert not equivalent("1", "9^{9^{9^{9}}}", seconds=1.0)
    assert equivalent(r"\frac{4}{2}", "2")


def test_a_response_is_parsed_and_never_run(tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    for formula in (f"__import__('os').system('touch {mark}')", f"(lambda: open('{mark}', 'w'))()"):
        assert symbolic("x", rf"\boxed{{{formula}}}") == 0.0
    assert not mark.exists()


@pytest.mark.parametrize(
    ("task", "subtask", "truth", "answer", "expected"),
    [
        ("math_comp", "amc_12a_2023", "B", "BBBBB", 1.0),
        ("math_comp", "updated_amc_12b_2023", "B", "BBBBB", 1.0),
        ("math_comp", "smc", "B", "CCCCC", 0.0),
        ("math_comp", "aime_i_2024", "033", "it is 033", 1.0),
        ("olympiad", "usamo", "1,2", "Answer: 2,1", 0.0),
        ("olympiad", "imo", "1,2", "Answer: \\boxed\n{1}", 0.0),  # the official scorer fails: 0
        ("AMPS_Hard", "amps_hard_gcd", "68", r"\boxed{68}", 1.0),
        ("math_comp", "aime_i_2024", "033", "<think>033</think>No idea.", 0.0),
    ],
)
def test_the_subtask_says_how_a_question_is_scored(
    task: str, subtask: str, truth: str, answer: str, expected: float
) -> None:
    question = {"ground_truth": truth, "subtask": subtask, "turns": [OPTIONS], "question_id": "q"}
    assert score("math", task, question, answer) == expected


def test_a_competition_that_has_no_rule_is_refused() -> None:
    with pytest.raises(UserError, match="AMC, SMC or AIME; got 'putnam_2023'"):
        score("math", "math_comp", {"ground_truth": "B", "subtask": "putnam_2023", "turns": [""]}, "B")
