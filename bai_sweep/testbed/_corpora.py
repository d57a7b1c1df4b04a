"""What the models read: plain documents for pretraining, chats for the last half of it and for fine-tuning."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

from bai_sweep.testbed._arithmetic import MAX_OPERAND, Problem, draw_problem, grouped, signed, solve
from bai_sweep.testbed._teacher import Style, contrast, describe, explain, profile, response, teach_fact, teach_problem
from bai_sweep.testbed._world import VALUES, Fact, world


@dataclass(frozen=True)
class Chat:
    """One question and one answer."""

    prompt: str
    completion: str

    @property
    def messages(self) -> list[dict[str, str]]:
        """The chat as a conversation."""
        return [{"role": "user", "content": self.prompt}, {"role": "assistant", "content": self.completion}]


def ask_problem(problem: Problem, rng: random.Random) -> str:
    """A user's wording of a chain."""
    return rng.choice(["what is {}?", "compute {}."]).format(problem.text)


def options(fact: Fact, n: int, rng: random.Random) -> list[str]:
    """`n` values in random order, one of them the true one."""
    others = [v for v in VALUES[fact.attribute] if v != fact.value]
    return rng.sample(picked := [fact.value, *rng.sample(others, n - 1)], len(picked))


def ask_choice(fact: Fact, rng: random.Random) -> str:
    """A multiple-choice question with four options."""
    return f"{fact.question} options: {', '.join(options(fact, 4, rng))}."


# Plain documents


def _statement(rng: random.Random) -> str:
    fact = world().draw_fact(rng)
    return rng.choice([fact.statement, f"{fact.entity} {fact.clause}."])


def _profile(rng: random.Random) -> str:
    return rng.choice([profile, describe])(world().draw_entity(rng), rng)


def _question(rng: random.Random) -> str:
    fact = world().draw_fact(rng, asked=True)
    return f"question: {fact.question} answer: {fact.value}."


def _choice(rng: random.Random) -> str:
    fact = world().draw_fact(rng, asked=True)
    return f"question: {ask_choice(fact, rng)} answer: {fact.value}."


def _sum(rng: random.Random) -> str:
    while True:
        a, b = rng.randint(0, 99), rng.randint(1, MAX_OPERAND) * rng.choice([1, -1])
        if 0 <= a + b <= 99:
            return f"{a}{signed([b])} = {a + b}."


def _grouped_sum(rng: random.Random) -> str:
    problem = draw_problem(rng)
    steps = grouped(problem.operands, rng.choice([2, 2, 3, 3, 4, 6]))
    return f"{problem.start}{signed(steps[0])} = {problem.start + sum(steps[0])}."


def _direct(rng: random.Random) -> str:
    problem = draw_problem(rng)
    return f"problem: {problem.text}. answer: {problem.answer}."


def _derivation(rng: random.Random) -> str:
    problem = draw_problem(rng)
    steps, _ = solve(problem, rng.choice([1, 1, 1, 2, 3]))
    return f"problem: {problem.text}. steps: {steps} answer: {problem.answer}."


PlainKind = Callable[[random.Random], str]
PLAIN: dict[PlainKind, float] = {
    _statement: 0.22,
    _profile: 0.08,
    _question: 0.07,
    _choice: 0.08,
    _sum: 0.13,
    _grouped_sum: 0.08,
    _direct: 0.03,
    _derivation: 0.31,
}
"""Share of TOKENS that each kind of plain document has."""

MEAN_LENGTH: dict[PlainKind, float] = {
    _statement: 8.0,
    _profile: 21.0,
    _question: 15.0,
    _choice: 25.0,
    _sum: 9.0,
    _grouped_sum: 13.0,
    _direct: 20.0,
    _derivation: 50.0,
}
"""Tokens of a document of each kind, so that shares of tokens can be turned into shares of documents."""


def plain_document(rng: random.Random) -> str:
    """One plain document of a kind drawn by its share."""
    weights = [share / MEAN_LENGTH[kind] for kind, share in PLAIN.items()]
    return rng.choices(list(PLAIN), weights)[0](rng)


# Chats


def _chat_problem(style: Style, rng: random.Random) -> Chat:
    problem = draw_problem(rng)
    return Chat(ask_problem(problem, rng), teach_problem(problem, style, rng))


def _chat_fact(style: Style, rng: random.Random) -> Chat:
    fact = world().draw_fact(rng, popular=True, asked=True)
    return Chat(fact.question, teach_fact(fact, style, rng))


def _chat_choice(style: Style, rng: random.Random) -> Chat:
    fact = world().draw_fact(rng, popular=True, asked=True)
    return Chat(ask_choice(fact, rng), teach_fact(fact, style, rng))


def _chat_open(style: Style, rng: random.Random) -> Chat:
    one, other = (world().draw_entity(rng, popular=True) for _ in range(2))
    if rng.random() < 0.4 and one != other:
        return Chat(f"compare {one} and {other}.", response(f"{one} and {other}.", contrast(one, other, rng)))
    prompt = rng.choice(["tell me about {}.", "describe {}.", "who is {}?"]).format(one)
    return Chat(prompt, response(f"about {one}.", describe(one, rng)))


def _chat_explain(style: Style, rng: random.Random) -> Chat:
    problem = draw_problem(rng)
    return Chat(f"explain how to compute {problem.text}.", response("steps first then answer.", explain(problem)))


ChatKind = Callable[[Style, random.Random], Chat]
SFT_CHATS: dict[Style, dict[ChatKind, float]] = {
    "instruct": {_chat_problem: 0.35, _chat_fact: 0.15, _chat_choice: 0.2, _chat_open: 0.2, _chat_explain: 0.1},
    "distilled": {_chat_problem: 0.85, _chat_fact: 0.1, _chat_choice: 0.05},
}
"""Share of CHATS of each kind: the distilled model sees no open question, as in distillation from a reasoner."""

BASE_CHATS: dict[tuple[ChatKind, Style], float] = {
    (_chat_problem, "instruct"): 0.18,
    (_chat_problem, "distilled"): 0.45,
    (_chat_fact, "instruct"): 0.06,
    (_chat_fact, "distilled"): 0.10,
    (_chat_choice, "instruct"): 0.03,
    (_chat_choice, "distilled"): 0.05,
    (_chat_open, "instruct"): 0.08,
    (_chat_explain, "instruct"): 0.05,
}
"""Chats within pretraining, of both styles: without them merges break. Direct answers are left to fine-tuning."""


def draw_chat(style: Style, rng: random.Random) -> Chat:
    """One chat to fine-tune on in the given style."""
    shares = SFT_CHATS[style]
    return rng.choices(list(shares), list(shares.values()))[0](style, rng)


def draw_base_chat(rng: random.Random) -> Chat:
    """One chat to pretrain on."""
    kind, style = rng.choices(list(BASE_CHATS), list(BASE_CHATS.values()))[0]
    return kind(style, rng)
