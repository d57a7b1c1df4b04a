"""LiveBench's instruction following: each instruction at its edges, sentences, and the score of a question."""

from collections.abc import Mapping
from typing import Any

import pytest

from bai_sweep.records import UserError
from bai_sweep.scoring.livebench.instruction_following import followed, score
from bai_sweep.scoring.livebench.instruction_following._checks import CHECKS
from bai_sweep.scoring.livebench.instruction_following._sentences import count_sentences


def question(*instructions: tuple[str, Mapping[str, Any]]) -> dict[str, Any]:
    """In the official form, where every instruction has every argument and those of others are None."""
    every: dict[str, Any] = {"num_words": None, "keywords": None, "relation": None}
    return {
        "question_id": "q1",
        "instruction_id_list": [name for name, _ in instructions],
        "kwargs": [every | dict(given) for _, given in instructions],
    }


# instruction: (arguments, answers that follow it, answers that do not)
EDGES: dict[str, tuple[dict[str, Any], list[str], list[str]]] = {
    "keywords:existence": (
        {"keywords": ["cat", "dog"]},
        ["Dogs and CATS", "hotdog, concatenate"],
        ["Dogs only", "c a t dog"],
    ),
    "keywords:frequency": (
        {"keyword": " cat ", "frequency": 2, "relation": "at least"},
        ["cat Cat", "catcat"],
        ["cat", "dog"],
    ),
    "keywords:forbidden_words": (
        {"forbidden_words": ["cat", "dog"]},
        ["cats", "hotdog"],
        ["a Cat.", "dog-like"],
    ),
    "keywords:letter_frequency": (
        {"letter": "E", "let_frequency": 3, "let_relation": "less than"},
        ["eEt", "none at all"],
        ["eee", "these were"],
    ),
    "length_constraints:number_sentences": (
        {"num_sentences": 2, "relation": "less than"},
        ["One sentence only", "Mr. Smith left at 5.30."],
        ["One. Two.", "Who? You!"],
    ),
    "length_constraints:number_paragraphs": (
        {"num_paragraphs": 2},
        ["a\n***\nb", "***\na\n***\nb\n***"],
        ["a\n\nb", "a***\n***b", "a***b***c"],
    ),
    "length_constraints:number_words": (
        {"num_words": 3, "relation": "at least"},
        ["one two three", "it's here"],
        ["one two", "one - two"],
    ),
    "length_constraints:nth_paragraph_first_word": (
        {"num_paragraphs": 2, "nth_paragraph": 2, "first_word": "Weekend"},
        ["a\n\nweekend is near", 'a\n\n"Weekend, yes', "a\n\nWeekend's\n\n", "a\n\n'\"weekend"],
        ["weekend\n\nb", "a\n\nweekends", "a\n\nb\n\nweekend", "a\nweekend", "a\n\n\n\nweekend"],
    ),
    "detectable_content:number_placeholders": (
        {"num_placeholders": 2},
        ["[name] lives at [address]"],
        ["[name]", "[name lives\nat] [", ""],
    ),
    "detectable_content:postscript": (
        {"postscript_marker": "P.P.S"},
        ["Text\n\nP.P.S more", "p. p. s."],
        ["P.S. more", "PPS more"],
    ),
    "detectable_format:number_bullet_lists": (
        {"num_bullets": 2},
        ["* a\n* b", "- a\n  * b", "-\n---"],
        ["* a", "* a\n* b\n- c", "**a**\n* b"],
    ),
    "detectable_format:constrained_response": (
        {},
        ["My answer is yes.", "Well: My answer is maybe. So it is."],
        ["yes", "my answer is yes."],
    ),
    "detectable_format:number_highlighted_sections": (
        {"num_highlights": 2},
        ["*a* and *b*", "**a** and **b**", "*a* **b**"],
        ["*a*", "** ** * *", "*a\nb* *c*"],
    ),
    "detectable_format:multiple_sections": (
        {"section_spliter": "Section ", "num_sections": 2},
        ["Section 1\na\nSection 2\nb", "Section1 Section2 Section3"],
        ["Section 1\na", "SECTION 1\nSECTION 2", "Section A\nSection B"],
    ),
    "detectable_format:json_format": (
        {},
        ['{"a": 1}', '```json\n{"a": 1}\n```', "```\n[1]```", '"text"'],
        ['Here: {"a": 1}', "```python\n{}\n```", "{'a': 1}", "[" * 100_000],
    ),
    "detectable_format:title": ({}, ["<<A title>>\ntext", "text <<<t>>>"], ["<<>>", "<<a\nb>>", "<a>"]),
    "combination:two_responses": (
        {},
        ["a\n******\nb", "******a******b******"],
        ["a", "a ****** a", "a******b******c", "a******\n******b"],
    ),
    "combination:repeat_prompt": (
        {"prompt_to_repeat": " Write a story. "},
        ["write a Story. Once", "\nWrite a story."],
        ["I will. Write a story.", "Write a  story."],
    ),
    "startend:end_checker": (
        {"end_phrase": "Any other questions? "},
        ["Yes. any other questions?", '"Any other questions?"\n'],
        ["Any other questions? No.", "Any other questions?'"],
    ),
    "startend:quotation": ({}, ['"a"', ' "a" and "b"\n'], ['"', "'a'", '"a', "“a”"]),
    "punctuation:no_comma": ({}, ["a; b"], ["a, b"]),
}


def test_every_instruction_is_tried_at_its_edges() -> None:
    assert EDGES.keys() == CHECKS.keys()


@pytest.mark.parametrize("name", EDGES)
def test_an_instruction_is_followed_or_not(name: str) -> None:
    given, following, not_following = EDGES[name]
    asked = question((name, given))
    assert [followed(asked, answer) for answer in following] == [[True]] * len(following)
    assert [followed(asked, answer) for answer in not_following] == [[False]] * len(not_following)


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("", 0),
        ("no stop", 1),
        ("One. Two? Three!", 3),
        ("Very bad!!! I left...", 2),
        ("He waited... and left.", 1),
        ("He waited... The bus came.", 2),
        ("Dr. J. Bach of the U.S. met Mr. No. 5 at 9.30 p.m. today.", 2),  # "No." is no abbreviation in the model
        ("They left the U.S. They came back.", 2),
        ("This, e.g. here, counts.", 2),  # nor is "e.g."
        ('"One." Two.', 2),
        ("(One.) Two.", 2),
        ("One.) (Two.", 2),
        ("1. First\n2. Second", 3),
        ("The year was 1990. it began.", 1),
        ("a. Ensure that\nb. Check it", 3),
        ("First line\nsecond line", 1),
        ("One.Two", 1),
        ("Version 3.11.4 is out.", 1),
        ('!!"', 2),
        ("?!", 2),
    ],
)
def test_sentences_are_counted_as_punkt_counts_them(text: str, count: int) -> None:
    assert count_sentences(text) == count


TWO = question(("punctuation:no_comma", {}), ("keywords:existence", {"keywords": ["cat"]}))
THREE = question(*[("punctuation:no_comma", {})] * 2, ("detectable_format:title", {}))


@pytest.mark.parametrize(
    ("asked", "answer", "points"),
    [
        (TWO, "A cat.", 1.0),
        (TWO, "A dog.", 0.25),
        (TWO, "A dog, too.", 0.0),
        (THREE, "no title", 1 / 3),
        (TWO, " \n", 0.0),
    ],
)
def test_half_is_for_all_instructions_and_half_for_their_share(
    asked: dict[str, Any], answer: str, points: float
) -> None:
    assert score(asked, answer) == pytest.approx(points, abs=1e-15)


def test_a_blank_answer_follows_nothing() -> None:
    assert followed(question(("punctuation:no_comma", {})), " \n ") == [False]


def test_blank_space_around_an_answer_does_not_count() -> None:
    given = {"num_paragraphs": 1, "nth_paragraph": 1, "first_word": "a"}
    asked = question(("length_constraints:nth_paragraph_first_word", given))
    assert followed(asked, "\n\nA b\n\n") == [True]


@pytest.mark.parametrize(
    ("asked", "reason"),
    [
        (question(("change_case:english_capital", {})), "got 'change_case:english_capital', which no question"),
        (question(("length_constraints:number_words", {"num_words": 3})), "needs the argument 'relation'; got"),
        (
            question(("length_constraints:number_words", {"num_words": 3, "relation": "at most"})),
            "'less than' or 'at least'; got 'at most'",
        ),
        (question(("keywords:existence", {"keywords": ["("]})), "are regular expressions"),
        (question(), "question q1 has 0 instructions and 0 sets"),
        (TWO | {"kwargs": [{}]}, "has 2 instructions and 1 sets"),
    ],
)
def test_a_question_that_cannot_be_checked_is_refused(asked: dict[str, Any], reason: str) -> None:
    with pytest.raises(UserError, match=reason.replace("(", r"\(")):
        score(asked, "some answer")
