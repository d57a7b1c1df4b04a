"""The judge of the testbed's arena: a rubric over checkable claims, with the verdicts of ArenaHard.

Protocol (lmarena/arena-hard-auto): two answers to one question, judged twice with their places exchanged; a verdict of
``>>`` counts as three battles, ``>`` as one, ``=`` as half a win in one. The judge here is a program: it needs no key,
has no taste for length, and gives the two orders mirrored verdicts.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from typing import Any

from bai_sweep.testbed._teacher import END_THINK, THINK
from bai_sweep.testbed._world import ATTRIBUTES, PHRASES, world

EQUATION = re.compile(r"(\d+(?: [-+] \d+)+) = (\d+)")
FINAL = re.compile(r"the answer is (\d+)\.")
TIE, DECISIVE = 0.05, 0.4
BATTLES = {"A>>B": 3, "A>B": 1, "A=B": 1, "B>A": 1, "B>>A": 3}
FORM_PENALTY = 0.3


def judge(item: dict[str, Any], answer_a: str, answer_b: str) -> str:
    """The verdict on two answers to `item`: one of ``A>>B``, ``A>B``, ``A=B``, ``B>A``, ``B>>A``."""
    lead = quality(item, answer_a) - quality(item, answer_b)
    if abs(lead) < TIE:
        return "A=B"
    sign = ">>" if abs(lead) >= DECISIVE else ">"
    return f"A{sign}B" if lead > 0 else f"B{sign}A"


def battles(item: dict[str, Any], answer: str, baseline: str) -> tuple[float, int]:
    """Both games of `answer` against `baseline`: battles won (a tie is half a win) and battles fought."""
    games = [(judge(item, baseline, answer), "B"), (judge(item, answer, baseline), "A")]
    won = sum(0.5 if v == "A=B" else BATTLES[v] * (v[0] == mine) for v, mine in games)
    return won, sum(BATTLES[v] for v, _ in games)


def quality(item: dict[str, Any], text: str) -> float:
    """What an answer is worth, at most 1: claims that are right less those that are wrong, less faults of form.

    Only what follows ``</think>`` is read; an answer that never leaves its thought is worth nothing.
    """
    answer = text.rpartition(END_THINK)[2].strip()
    if THINK in answer:
        return 0.0
    substance = _explanation(item, answer) if item["kind"] == "explain" else _claims(item, answer)
    sentences = [s.strip() for s in answer.split(".") if s.strip()]
    faulty = not answer.endswith(".") or len(set(sentences)) < len(sentences)
    return substance - FORM_PENALTY * faulty


def _claims(item: dict[str, Any], answer: str) -> float:
    """Distinct claims about the entities asked for; naming them all, or three of each in a comparison, gives 1."""
    claims = {claim for claim in stated(answer) if claim[0] in item["entities"]}
    right = sum(is_true(*claim) for claim in claims)
    wanted = len(ATTRIBUTES) if item["kind"] == "describe" else 6
    return min(1.0, (2 * right - len(claims)) / wanted)


def stated(answer: str) -> Iterator[tuple[str, str, str]]:
    """The (entity, attribute, value) triples that a text states; a clause belongs to the entity named last."""
    entity = ""
    for match in clause_pattern().finditer(answer):
        kind, text = str(match.lastgroup), match.group()
        if kind == "name":
            entity = text
        else:
            yield entity, kind, text.split()[-1]


@cache
def clause_pattern() -> re.Pattern[str]:
    """Matches an entity's name or a clause about it; the group that matched says which."""
    clauses = [f"(?P<{a}>{PHRASES[a].format('[a-z]+')})" for a in ATTRIBUTES]
    return re.compile("|".join([*clauses, f"(?P<name>{'|'.join(world().facts)})"]))


def is_true(entity: str, attribute: str, value: str) -> bool:
    """Whether the world holds this fact."""
    return any(f.attribute == attribute and f.value == value for f in world().facts[entity])


def _explanation(item: dict[str, Any], answer: str) -> float:
    """Half for the right result, half for true steps; each false step takes away a third."""
    steps = [value(left) == int(right) for left, right in EQUATION.findall(answer)]
    finals = FINAL.findall(answer)
    right = bool(finals) and int(finals[-1]) == value(item["problem"])
    told = any(steps) and sum(steps) / len(steps)
    return 0.5 * right + 0.5 * told - steps.count(False) / 3


def value(chain: str) -> int:
    """The value of ``49 - 7 + 8``."""
    return sum(int(x) for x in chain.replace("- ", "-").replace("+ ", "+").split())
