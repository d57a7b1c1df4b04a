"""What the family can do, on held-out items: the table of docs/testbed.md."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import torch
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

from bai_sweep.testbed._arena import battles
from bai_sweep.testbed._benchmarks import (
    arena_baseline,
    arena_items,
    arithmetic_items,
    direct_items,
    knowledge_items,
)
from bai_sweep.testbed._prompts import verifiable_reward
from bai_sweep.testbed._sampling import load, sample

ALPHAS = (0.0, 0.1, 0.3, 0.5, 0.6, 0.9)
LONG, SHORT = 200, 24
HEADER = (
    "| model | arithmetic, greedy | length | arithmetic, T=1 | length | knowledge | direct answers | arena |\n"
    "|---|---|---|---|---|---|---|---|"
)


def measure(weights: Path, n: int) -> str:
    """The Markdown table of the base, the SFT models and their merges, `n` items a column.

    "arithmetic" gives 200 tokens to an answer, "direct answers" 24: there a long thought is cut off and lost.
    """
    tokenizer = PreTrainedTokenizerFast.from_pretrained(weights / "base")
    trio = {name: load(weights / name) for name in ("base", "instruct", "distilled")}
    baseline = arena_baseline(weights)
    rows = [row(name, model, tokenizer, baseline, n) for name, model in trio.items()]
    for alpha in ALPHAS:
        rows.append(row(f"alpha {alpha:g}", merge(trio, alpha), tokenizer, baseline, n))
    return "\n".join([HEADER, *rows])


def merge(trio: dict[str, LlamaForCausalLM], alpha: float) -> LlamaForCausalLM:
    """alpha * base + (1 - alpha) * (instruct + distilled) / 2."""
    base, *sft = (trio[name].state_dict() for name in ("base", "instruct", "distilled"))
    merged = LlamaForCausalLM(trio["base"].config)
    merged.load_state_dict({k: alpha * w + (1 - alpha) * sum(s[k] for s in sft) / 2 for k, w in base.items()})
    return merged


def row(name: str, model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, baseline: list[str], n: int) -> str:
    """One line of the table."""
    problems, facts = arithmetic_items(n), direct_items(n)
    questions, answers = [p["question"] for p in problems], [p["answer"] for p in problems]
    greedy = sample(model, tokenizer, questions, LONG, temperature=0.0)
    random = sample(model, tokenizer, questions, LONG, temperature=1.0)
    direct = sample(model, tokenizer, [f["question"] for f in facts], SHORT, temperature=0.0)
    cells = [
        accuracy(greedy.texts, answers),
        f"{mean(greedy.lengths):.0f}",
        accuracy(random.texts, answers),
        f"{mean(random.lengths):.0f}",
        share(knowledge(model, tokenizer, n)),
        accuracy(direct.texts, [f["answer"] for f in facts]),
        arena(model, tokenizer, baseline),
    ]
    return f"| {name} | {' | '.join(cells)} |"


def mean(values: Sequence[float]) -> float:
    """The arithmetic mean."""
    return sum(values) / len(values)


def share(hits: Sequence[float]) -> str:
    """The mean of values within 0..1 with its standard error."""
    p = mean(hits)
    return f"{p:.3f} ± {math.sqrt(mean([(hit - p) ** 2 for hit in hits]) / (len(hits) - 1)):.3f}"


def accuracy(texts: list[str], answers: list[str]) -> str:
    """The share of responses that the verifiable reward accepts."""
    return share([(r + 1) / 2 for r in verifiable_reward(texts, answers)])


def arena(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, baseline: list[str]) -> str:
    """The mean share of battles won against the instruct model's recorded answers, greedy."""
    items = arena_items()
    answers = sample(model, tokenizer, [item["question"] for item in items], LONG, temperature=0.0).texts
    games = [battles(item, a, b) for item, a, b in zip(items, answers, baseline, strict=True)]
    return share([won / fought for won, fought in games])


@torch.no_grad()
def knowledge(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, n: int) -> list[float]:
    """1 for each plain statement whose true value is the likeliest of the ten offered, else 0."""
    hits = []
    for item in knowledge_items(n):
        logits = model(**tokenizer(item["query"], return_tensors="pt")).logits[0, -1]
        scores = logits[tokenizer.convert_tokens_to_ids(item["choices"])]
        hits.append(float(scores.argmax() == item["gold"]))
    return hits
