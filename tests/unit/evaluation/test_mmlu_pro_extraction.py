"""MMLU-Pro is read by lm-eval's own filter: on published outputs it gives the letters published with them."""

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lm_eval
import pytest
import yaml
from hydra import compose, initialize_config_dir
from lm_eval.filters import build_filter_ensemble

from bai_sweep.config import parse
from bai_sweep.sources import packaged_dir

OUTPUTS = "mmlu_pro/outputs_Meta-Llama-3-70B_12032_excerpt.jsonl.gz"
MISSED = "[invalid]"  # what the filter makes of a response without an answer


@pytest.fixture(scope="module")
def extract() -> Callable[[list[str]], list[str]]:
    """The filter that `evaluation=paper` names, built from the YAML of lm-eval's task."""
    with initialize_config_dir(str(packaged_dir("conf")), version_base="1.3"):
        benchmark = parse(compose("config", overrides=["evaluation=paper"])).evaluation.benchmarks["mmlu_pro"]
    template = Path(lm_eval.__file__).parent / "tasks/mmlu_pro/_default_template_yaml"
    plain = "\n".join(line for line in template.read_text().splitlines() if "!function" not in line)
    (named,) = [entry for entry in yaml.safe_load(plain)["filter_list"] if entry["name"] == benchmark.filter]
    steps = [(step["function"], {k: v for k, v in step.items() if k != "function"}) for step in named["filter"]]

    def apply(texts: list[str]) -> list[str]:
        answers: Any = [[text] for text in texts]
        for step in build_filter_ensemble(named["name"], steps).filters:
            answers = list(step().apply(answers, [{}] * len(texts)))
        return list(answers)

    return apply


def test_the_letter_that_is_named(extract: Callable[[list[str]], list[str]]) -> None:
    said = {
        "The answer is (C).": "C",
        "The answer is C": "C",
        "the answer is (A). No, the answer is (B).": "A",
        "The answer is c.": MISSED,
        "The answer is (K).": MISSED,
        "Answer: B": MISSED,
        "": MISSED,
    }
    assert extract(list(said)) == list(said.values())


def test_published_predictions_are_read_alike(
    extract: Callable[[list[str]], list[str]], shared_data: Callable[[str], Path]
) -> None:
    """12,032 outputs of Llama-3-70B, as published with the letter that the official code read from each."""
    with gzip.open(shared_data(OUTPUTS), "rt") as lines:
        rows = [json.loads(line) for line in lines]
    assert len(rows) == 12_032
    letters = extract([row["text_excerpt"] for row in rows])
    assert letters == [row["pred"] or MISSED for row in rows]
    right = sum(letter == row["answer"] for letter, row in zip(letters, rows, strict=True))
    assert right / len(rows) == pytest.approx(0.5201, abs=5e-5)
