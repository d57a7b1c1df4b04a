"""On the real files: every reference answer in its usual written forms, and near misses of each."""

import json
import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bai_sweep.scoring.mathematics import aime_answer, equivalent, extract_answer, reference_answer, score_aime
from tests.unit.scoring.mathematics.math_near_misses import near_misses, value_of

SharedData = Callable[[str], Path]


def rows_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.fixture(scope="module")
def math500(shared_data: SharedData) -> list[dict[str, Any]]:
    return rows_of(shared_data("math/math500.jsonl"))


@pytest.fixture(scope="module")
def aime(shared_data: SharedData) -> list[dict[str, Any]]:
    return rows_of(shared_data("aime24/aime24_qwen25math.jsonl"))


def forms(answer: str) -> dict[str, str]:
    """Responses that give an answer in ways that models use."""
    small = re.sub(r"\\d?frac", r"\\tfrac", re.sub(r"\\(left|right)(?![a-z])", "", answer))
    return {
        "a sentence": rf"The answer is $\boxed{{{answer}}}$.",
        "dfrac": "Thus\n\\[\n\\boxed{" + answer.replace("\\frac", "\\dfrac") + "}\n\\]",
        "tfrac, no left": rf"\boxed{{{small}}}",
        "spaces": rf"\boxed{{  {answer}  }}",
        "a full stop": rf"\boxed{{{answer}.}}",
        "dollars inside": rf"\boxed{{${answer}$}}",
        "Minerva": f"The final answer is ${answer}$. I hope it is correct.",
        "a label": f"So it is.\n\nAnswer: {answer}",
        "bold": f"**Answer:** **${answer}$**",
    }


@pytest.mark.parametrize("form", forms(""))
def test_every_reference_answer_is_recognised_in_its_usual_forms(math500: list[dict[str, Any]], form: str) -> None:
    missed = []
    for row in math500:
        extracted = extract_answer(forms(row["answer"])[form])
        if extracted is None or not equivalent(extracted, row["answer"]):
            missed.append((row["answer"], extracted))
    assert missed == []
    assert len(math500) == 500


def test_every_reference_solution_gives_its_answer(math500: list[dict[str, Any]]) -> None:
    assert [
        row["answer"] for row in math500 if not equivalent(str(extract_answer(row["solution"])), row["answer"])
    ] == []
    without = [{key: value for key, value in row.items() if key != "answer"} for row in math500]
    assert [reference_answer(row) for row in without] == [row["answer"] for row in math500]


def test_no_near_miss_is_taken_for_the_answer(math500: list[dict[str, Any]]) -> None:
    kinds: Counter[str] = Counter()
    taken = []
    for answer in sorted({row["answer"] for row in math500}):
        for kind, miss in near_misses(answer):
            kinds[kind] += 1
            values = value_of(answer), value_of(miss)
            assert None in values or abs(values[0] - values[1]) > 1e-9, (answer, miss)
            if equivalent(miss, answer):
                taken.append((kind, miss, answer))
    assert taken == []
    assert len(kinds) >= 17
    assert sum(kinds.values()) > 1500


def test_answers_of_different_problems_are_equal_only_when_their_values_are(math500: list[dict[str, Any]]) -> None:
    answers = sorted({row["answer"] for row in math500})
    known = [(answer, value) for answer in answers if (value := value_of(answer)) is not None]
    assert len(known) > 200
    for (answer, value), (other, another) in zip(known, known[1:] + known[:1], strict=True):
        assert equivalent(answer, other) == (abs(value - another) < 1e-9), (answer, other)


def test_aime_answers_are_read_in_every_form(aime: list[dict[str, Any]]) -> None:
    assert len(aime) == 30
    for row in aime:
        number = int(row["answer"])
        written = [row["answer"], str(number), rf"\text{{{number}}}", f"{number}.", f"m+n = {number}", f"{number}.0"]
        for text in written:
            assert aime_answer(rf"so $\boxed{{{text}}}$.") == number
            assert aime_answer(f"The answer is {text}") == number
        for wrong in (str(number + 1), f"{number}0", f"{number}.5", f"{number} or {number + 1}", f"{number}x"):
            assert score_aime([rf"\boxed{{{wrong}}}"], row["answer"])["exact_match"].value == float(
                wrong == f"{number}0" and number == 0
            )


def test_gsm8k_solutions_are_judged_as_published(shared_data: SharedData) -> None:
    """5,276 solutions of four models with a published flag each; "A: 18" stands for a label that MATH has."""
    judged = []
    for row in rows_of(shared_data("gsm8k/example_model_solutions.jsonl")):
        right = row["ground_truth"].rpartition("A: ")[2]
        for model in ("6b_finetuning", "6b_verification", "175b_finetuning", "175b_verification"):
            answer = extract_answer(row[model]["solution"].replace("\nA: ", "\nAnswer: "))
            judged.append((answer is not None and equivalent(answer, right), row[model]["is_correct"], answer, right))
    assert len(judged) == 4 * 1319
    assert [each for each in judged if each[0] != each[1]] == []
