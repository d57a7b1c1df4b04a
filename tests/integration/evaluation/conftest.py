"""Local tasks over invented data, in the three forms that lm-eval has, and the model that takes them."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers.processors import TemplateProcessing
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

from bai_sweep.config import Benchmark, EvaluationConfig
from tests.tiny import WORDS, tiny_model, tiny_tokenizer

LETTERS = WORDS[5:31]
FORMS = {
    "mc": (
        "output_type: multiple_choice\ndoc_to_text: question\ndoc_to_choice: choices\ndoc_to_target: gold\n"
        "metric_list:\n- {metric: acc, aggregation: mean, higher_is_better: true}\n"
        "- {metric: acc_norm, aggregation: mean, higher_is_better: true}\n"
    ),
    "gen": (
        "output_type: generate_until\ndoc_to_text: question\ndoc_to_target: '{{choices[gold]}}'\n"
        "process_results: !function scoring.first_letter\n"
        "generation_kwargs: {until: [q, 'x y'], max_gen_toks: 16, do_sample: false}\n"
        "metric_list:\n- {metric: exact_match, aggregation: mean, higher_is_better: true}\n"
        "- {metric: pooled, aggregation: !function scoring.pool, higher_is_better: true}\n"
    ),
    "rolling": (
        "output_type: loglikelihood_rolling\ndoc_to_text: ''\ndoc_to_target: '{{question}}'\n"
        "metric_list:\n- {metric: word_perplexity, aggregation: weighted_perplexity, higher_is_better: false}\n"
    ),
}
SCORING = """
import random

def first_letter(doc, results):
    return {"exact_match": float(results[0][:1] < "m"), "pooled": (1, 2)}

def drawn(doc, results):
    return {"exact_match": random.random(), "pooled": (1, 2)}

def pool(items):
    return 0.5

def broken(doc, results):
    raise ZeroDivisionError("a broken task")
"""


@pytest.fixture(scope="session")
def tasks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the tasks mc, gen, rolling, the group both (mc twice), and some that are wrong on purpose."""
    folder = tmp_path_factory.mktemp("tasks")
    rng = random.Random(0)
    for name, count in (("docs", 30), ("few", 7)):
        lines = [
            {
                "question": " ".join(rng.choices(LETTERS, k=rng.randint(2, 60))),
                "choices": [" ".join(rng.choices(LETTERS, k=rng.choice([1, 1, 3]))) for _ in range(4)],
                "gold": rng.randrange(4),
            }
            for _ in range(count)
        ]
        (folder / f"{name}.jsonl").write_text("\n".join(map(json.dumps, lines)))
    (folder / "scoring.py").write_text(SCORING)

    def write(name: str, form: str, data: str = "docs") -> None:
        where = f"{{data_files: {{test: {folder / data}.jsonl}}, cache_dir: {folder / 'cache'}}}"
        head = f"task: {name}\ndataset_path: json\ndataset_kwargs: {where}\ntest_split: test\n"
        (folder / f"{name}.yaml").write_text(head + form)

    for name, form in FORMS.items():
        write(name, form)
    write("mc_few", FORMS["mc"], "few")
    write("broken", FORMS["gen"].replace("first_letter", "broken"))
    write("drawn", FORMS["gen"].replace("first_letter", "drawn"))
    write("beams", FORMS["gen"].replace("do_sample: false", "num_beams: 4"))
    write("thinking", FORMS["gen"].replace("doc_to_text: question", "doc_to_text: '{{question}} <think>'"))
    write("sampled", FORMS["gen"].replace("do_sample: false", "do_sample: true, temperature: 1.0"))
    (folder / "both.yaml").write_text(
        "group: both\ntask: [mc, mc_few]\naggregate_metric_list:\n- {metric: acc, weight_by_size: true}\n"
    )
    return folder


@pytest.fixture(scope="session")
def model() -> LlamaForCausalLM:
    """Untrained, with logits wide apart so that greedy responses vary; a context of 48 tokens overflows often."""
    model = tiny_model(seed=1, max_position_embeddings=48, tie_word_embeddings=False)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 2:
                parameter.mul_(8.0)
    return model


@pytest.fixture(scope="session")
def tokenizer() -> PreTrainedTokenizerFast:
    """Puts <bos> before every text by itself, as its chat template does too: prompts must not get two."""
    tokenizer = tiny_tokenizer()
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing("<bos> $A", special_tokens=[("<bos>", 1)])
    assert tokenizer.encode("a")[0] == tokenizer.bos_token_id
    return tokenizer


@pytest.fixture
def configure(tasks: Path, tmp_path: Path) -> Callable[..., EvaluationConfig]:
    """An evaluation of the local tasks, one benchmark for each keyword: `mc={"metric": "acc"}`."""

    def build(
        *, allow_missing: bool = False, think_end: str | None = None, subset: int | None = None, **benchmarks: Any
    ) -> EvaluationConfig:
        plain = {"metric": "acc", "filter": "none", "chat_template": False, "num_fewshot": None, "limit": None}
        return EvaluationConfig(
            name="local",
            benchmarks={
                name: Benchmark(**({"task": str(tasks / f"{name}.yaml")} | plain | settings))
                for name, settings in benchmarks.items()
            },
            unavailable={},
            allow_missing=allow_missing,
            subset=subset,
            data_dir=None,
            partial_data=False,
            cache_dir=str(tmp_path / "cache"),
            isolation="auto",
            scoring_threads=2,
            batch_tokens=512,
            max_new_tokens=16,
            think_end=think_end,
            seed=0,
        )

    return build
