"""The items of the testbed's benchmarks, drawn from fixed seeds: no build and no training prompt moves them."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

from bai_sweep.testbed._arithmetic import MAX_TERMS, MIN_TERMS, draw_problem
from bai_sweep.testbed._corpora import ask_choice, ask_problem, options
from bai_sweep.testbed._weights import BASELINE, weights_dir
from bai_sweep.testbed._world import world

KNOWLEDGE_SEED, ARITHMETIC_SEED, DIRECT_SEED, ARENA_SEED = 101, 102, 103, 104
N_OPTIONS = 10


def knowledge_items(n: int = 300) -> list[dict[str, Any]]:
    """Plain statements to complete by one of ten values; entities uniform, so most of them are rare."""
    rng = random.Random(KNOWLEDGE_SEED)
    facts = rng.sample(world().all_facts, n)
    items = []
    for fact in facts:
        choices = options(fact, N_OPTIONS, rng)
        items.append({"query": fact.cloze, "choices": choices, "gold": choices.index(fact.value)})
    return items


def arithmetic_items(n: int = 160) -> list[dict[str, Any]]:
    """Held-out chains of every length in equal numbers, as a user words them."""
    rng = random.Random(ARITHMETIC_SEED)
    lengths = range(MIN_TERMS, MAX_TERMS + 1)
    problems = [draw_problem(rng, "heldout", lengths[i % len(lengths)]) for i in range(n)]
    return [
        {"question": ask_problem(p, rng), "answer": str(p.answer), "n_terms": len(p.operands) + 1} for p in problems
    ]


def direct_items(n: int = 200) -> list[dict[str, Any]]:
    """Questions about facts that no training asks for, every second one with four options."""
    rng = random.Random(DIRECT_SEED)
    items = []
    for i in range(n):
        fact = world().draw_fact(rng, popular=True, asked=False)
        items.append({"question": ask_choice(fact, rng) if i % 2 else fact.question, "answer": fact.value})
    return items


def arena_items(n: int = 60) -> list[dict[str, Any]]:
    """Open questions: descriptions, comparisons, and explanations of held-out chains, in equal numbers."""
    rng = random.Random(ARENA_SEED)
    return [{"id": i, **_ARENA_KINDS[i % len(_ARENA_KINDS)](rng)} for i in range(n)]


def arena_baseline(weights: Path | None = None) -> list[str]:
    """The recorded answers of a family's instruct model (by default the shipped one) to `arena_items`, in order."""
    answers: list[str] = json.loads(((weights or weights_dir()) / BASELINE).read_text())
    return answers


def _describe(rng: random.Random) -> dict[str, Any]:
    entity = world().draw_entity(rng, popular=True)
    wording = rng.choice(["tell me about {}.", "describe {}.", "who is {}?"])
    return {"kind": "describe", "question": wording.format(entity), "entities": [entity], "problem": ""}


def _compare(rng: random.Random) -> dict[str, Any]:
    one = other = world().draw_entity(rng, popular=True)
    while other == one:
        other = world().draw_entity(rng, popular=True)
    return {"kind": "compare", "question": f"compare {one} and {other}.", "entities": [one, other], "problem": ""}


def _explain(rng: random.Random) -> dict[str, Any]:
    text = draw_problem(rng, "heldout", rng.randint(3, 5)).text
    return {"kind": "explain", "question": f"explain how to compute {text}.", "entities": [], "problem": text}


_ARENA_KINDS = (_describe, _compare, _explain)
