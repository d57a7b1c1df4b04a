"""The answer letter of MMLU-Pro: by the official rule, on published outputs, and as lm-eval's own filter has it."""

import gzip
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lm_eval
import pytest
import yaml
from lm_eval.filters import build_filter_ensemble

from bai_sweep.scoring.mmlu_pro import extract, extract_with_fallbacks

OUTPUTS = "mmlu_pro/outputs_Meta-Llama-3-70B_12032_excerpt.jsonl.gz"


@pytest.fixture(scope="module")
def outputs(shared_data: Callable[[str], Path]) -> list[dict[str, Any]]:
    with gzip.open(shared_data(OUTPUTS), "rt") as lines:
        return [json.loads(line) for line in lines]


@pytest.fixture(scope="module")
def lm_evals_filter() -> Callable[[list[str]], list[str]]:
    """The filter of lm-eval's own task, built from its YAML."""
    template = Path(lm_eval.__file__).parent / "tasks/mmlu_pro/_default_template_yaml"
    plain = "\n".join(line for line in template.read_text().splitlines() if "!function" not in line)
    (named,) = yaml.safe_load(plain)["filter_list"]
    assert named["name"] == "custom-extract"
    steps = [(step["function"], {k: v for k, v in step.items() if k != "function"}) for step in named["filter"]]
    ensemble = build_filter_ensemble(named["name"], steps)

    def apply(texts: list[str]) -> list[str]:
        answers: Any = [[text] for text in texts]
        for step in ensemble.filters:
            answers = list(step().apply(answers, [{}] * len(texts)))
        return list(answers)

    return apply


SAID = {
    "The answer is (C).": ("C", "C"),
    "The answer is C": ("C", "C"),
    "the answer is (A). No, the answer is (B).": ("A", "A"),
    "The answer is c.": (None, None),
    "The answer is (K).": (None, None),
    "Answer: B": (None, "B"),
    "Answer: A, answer: B\nAnswer: C": (None, "B"),
    "Answer:\n D": (None, "D"),
    "I would say E, or rather F!": (None, "F"),
    "nothing": (None, None),
    "": (None, None),
}


@pytest.mark.parametrize(("response", "letters"), SAID.items())
def test_the_letter_that_is_named(response: str, letters: tuple[str | None, str | None]) -> None:
    assert (extract(response), extract_with_fallbacks(response)) == letters


def test_published_predictions_are_those_of_the_first_rule(outputs: list[dict[str, Any]]) -> None:
    """12,032 outputs of Llama-3-70B as published with the letter that the official code read from each."""
    assert len(outputs) == 12_032
    assert [row for row in outputs if extract(row["text_excerpt"]) != row["pred"]] == []
    right = sum(extract(row["text_excerpt"]) == row["answer"] for row in outputs)
    assert right / len(outputs) == pytest.approx(0.5201, abs=5e-5)


def test_lm_evals_filter_reads_the_same(
    outputs: list[dict[str, Any]], lm_evals_filter: Callable[[list[str]], list[str]]
) -> None:
    texts = [row["text_excerpt"] for row in outputs]
    assert lm_evals_filter(texts) == [extract(text) or "[invalid]" for text in texts]
    assert lm_evals_filter(list(SAID)) == [letters[0] or "[invalid]" for letters in SAID.values()]


def test_extraction_takes_time_linear_in_the_response() -> None:
    begun = time.process_time()
    for text in ("answer is " * 50_000, "answer:" * 50_000, " " * 500_000, "answer: A " * 50_000, "A" * 500_000):
        extract_with_fallbacks(text)
    assert time.process_time() - begun < 5.0
