"""Pairs for the reward model: the right answer over a wrong one, in every pairing of styles, and whole over broken."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

from bai_sweep.testbed._arithmetic import Problem, draw_problem, slipped, solve
from bai_sweep.testbed._corpora import ask_problem
from bai_sweep.testbed._teacher import (
    CHECK,
    END_THINK,
    Style,
    brief_thought,
    draw_group,
    final,
    long_thought,
    response,
    teach_fact,
    teach_problem,
)
from bai_sweep.testbed._world import VALUES, Fact, world


@dataclass(frozen=True)
class Preference:
    """Two answers to one prompt, the better one first."""

    prompt: str
    chosen: str
    rejected: str


def draw_style(rng: random.Random) -> Style:
    """Either style with equal probability."""
    return "instruct" if rng.random() < 0.5 else "distilled"


def wrong_problem(problem: Problem, style: Style, rng: random.Random) -> str:
    """A response in the given style that ends in a wrong value, or whose answer is not what its right steps say."""
    if rng.random() < 0.2:
        thought = brief_thought(problem, rng) if style == "instruct" else long_thought(problem, rng)
        return response(thought, final(slipped(problem.answer, rng)))
    if style == "instruct":
        thought, value = solve(problem, draw_group(rng), slip=rng)
    else:
        careful, value = solve(problem, slip=rng)
        passes = [brief_thought(problem, rng), *[careful] * rng.randint(1, 2)]
        thought = f" {CHECK} ".join(passes)
    return response(thought, final(value))


def wrong_fact(fact: Fact, style: Style, rng: random.Random) -> str:
    """A response that names a wrong value throughout."""
    value = rng.choice([v for v in VALUES[fact.attribute] if v != fact.value])
    return teach_fact(fact, style, rng).replace(fact.value, value)


def broken(text: str, rng: random.Random) -> str:
    """A response spoilt in form: cut off in its thought, without an answer, or rambling on after it."""
    thought, _, rest = text.partition(f" {END_THINK} ")
    words = thought.split()
    return rng.choice(
        [" ".join(words[: rng.randint(2, len(words))]), f"{thought} {END_THINK}", f"{text} {rest} {rest}"]
    )


def _problem_pair(rng: random.Random) -> Preference:
    problem = draw_problem(rng)
    chosen = teach_problem(problem, draw_style(rng), rng)
    return Preference(ask_problem(problem, rng), chosen, wrong_problem(problem, draw_style(rng), rng))


def _fact_pair(rng: random.Random) -> Preference:
    fact = world().draw_fact(rng, popular=True, asked=True)
    chosen = teach_fact(fact, draw_style(rng), rng)
    return Preference(fact.question, chosen, wrong_fact(fact, draw_style(rng), rng))


def _broken_pair(rng: random.Random) -> Preference:
    problem = draw_problem(rng)
    chosen, other = (teach_problem(problem, draw_style(rng), rng) for _ in range(2))
    return Preference(ask_problem(problem, rng), chosen, broken(other, rng))


PAIRS: dict[Callable[[random.Random], Preference], float] = {_problem_pair: 0.7, _fact_pair: 0.15, _broken_pair: 0.15}


def draw_preference(rng: random.Random) -> Preference:
    """One pair of a kind drawn by its share."""
    return rng.choices(list(PAIRS), list(PAIRS.values()))[0](rng)
