"""The exact programmatic teacher: what the instruct and the distilled models are taught to answer.

Both styles think between ``<think>`` and ``</think>`` and then state the answer in the same words; they differ in how
much they think. So the length of the thought is a choice at every step, not a mode picked at the first token, and the
models can be merged.
"""

from __future__ import annotations

import random
from typing import Literal

from bai_sweep.testbed._arithmetic import Problem, solve
from bai_sweep.testbed._world import ATTRIBUTES, Fact, world

Style = Literal["instruct", "distilled"]
THINK, END_THINK = "<think>", "</think>"
CHECK = "wait, let me check."

BRIEF_GROUPS = {2: 0.2, 3: 0.35, 4: 0.25, 6: 0.2}
DRAFT_SLIP, CAREFUL_SLIP = 0.6, 0.1
COUNT_DRAFT, TRUST_DRAFT = 0.5, 0.1


def response(thought: str, answer: str) -> str:
    """The whole assistant turn."""
    return f"{THINK} {thought} {END_THINK} {answer}"


def final(answer: str | int) -> str:
    """The final sentence, the one that `verifiable_reward` reads."""
    return f"the answer is {answer}."


def teach_problem(problem: Problem, style: Style, rng: random.Random) -> str:
    """A correct response to a chain, brief or long."""
    thought = brief_thought if style == "instruct" else long_thought
    return response(thought(problem, rng), final(problem.answer))


def brief_thought(problem: Problem, rng: random.Random) -> str:
    """Few steps of several operands each, never checked."""
    return solve(problem, draw_group(rng))[0]


def draw_group(rng: random.Random) -> int:
    """How many operands one brief step takes at once."""
    return rng.choices(list(BRIEF_GROUPS), list(BRIEF_GROUPS.values()))[0]


def long_thought(problem: Problem, rng: random.Random) -> str:
    """A brief draft, then careful passes, one operand a step, until two values in a row agree on the truth.

    The draft is what the instruct model would have written; it counts as the first value in half of the thoughts, and
    in a few a right draft is trusted unchecked. Steps of several operands stay hard for a model of this size whatever
    it is taught, so that what follows the draft is worth its tokens.
    """
    text, value = solve(problem, draw_group(rng), slip=rng if rng.random() < DRAFT_SLIP else None)
    passes, values = [text], [value] if rng.random() < COUNT_DRAFT else []
    if value == problem.answer and rng.random() < TRUST_DRAFT:
        return text
    while len(values) < 2 or not values[-2] == values[-1] == problem.answer:
        slips = len(passes) == 1 and rng.random() < CAREFUL_SLIP
        text, value = solve(problem, slip=rng if slips else None)
        passes.append(text)
        values.append(value)
    return f" {CHECK} ".join(passes)


def teach_fact(fact: Fact, style: Style, rng: random.Random) -> str:
    """A correct response to a question about one fact; the long style first recalls all it knows."""
    thought = f"the {fact.attribute} of {fact.entity}."
    if style == "distilled":
        thought = f"{profile(fact.entity, rng)} {CHECK} {fact.statement}"
    return response(thought, final(fact.value))


def profile(entity: str, rng: random.Random) -> str:
    """All facts about an entity as a list in random order."""
    facts = rng.sample(world().facts[entity], len(ATTRIBUTES))
    return f"{entity}: {', '.join(f'{f.attribute} {f.value}' for f in facts)}."


def describe(entity: str, rng: random.Random) -> str:
    """A fluent sentence with all facts about an entity."""
    *first, last = (f.clause for f in rng.sample(world().facts[entity], len(ATTRIBUTES)))
    return f"{entity} {', '.join(first)} and {last}."


def contrast(one: str, other: str, rng: random.Random) -> str:
    """Three sentences that set two entities side by side."""
    kinds = rng.sample(range(len(ATTRIBUTES)), 3)
    a, b = world().facts[one], world().facts[other]
    return " ".join(f"{one} {a[k].clause} but {other} {b[k].clause}." for k in kinds)


def explain(problem: Problem) -> str:
    """How a chain is worked out, told step by step."""
    first, *rest = solve(problem)[0].split(". ")
    return " ".join([f"first {first}.", *(f"then {step.rstrip('.')}." for step in rest), final(problem.answer)])
