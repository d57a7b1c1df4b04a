"""One problem, and what a model is asked."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

from bai_sweep.scoring.mbpp._inputs import Arguments, arguments_of

Tests = Literal["base", "plus"]
_REQUEST = "Please provide a self-contained Python script that solves the following problem in a markdown code block:"


@dataclass(frozen=True)
class Task:
    """A line of MbppPlus.jsonl; hashable, so that its expected outputs are computed once.

    Args:
        task_id: `Mbpp/2`.
        prompt: The problem as a docstring.
        entry_point: The function's name.
        canonical_solution: What makes the expected outputs, together with the prompt.
        base_input: JSON: a list of argument lists, those of MBPP's own tests.
        plus_input: JSON: those that evalplus added.
        atol: Absolute tolerance; 0: outputs are equal.
    """

    task_id: str
    prompt: str
    entry_point: str
    canonical_solution: str
    base_input: str
    plus_input: str
    atol: float

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> Task:
        """From a row whose inputs are lists or JSON text."""
        text = {name: str(row[name]) for name in ("task_id", "prompt", "entry_point", "canonical_solution")}
        base, plus = (
            given if isinstance(given, str) else json.dumps(given) for given in (row["base_input"], row["plus_input"])
        )
        return cls(**text, base_input=base, plus_input=plus, atol=float(row["atol"]))

    @cached_property
    def base(self) -> tuple[Arguments, ...]:
        """The arguments of MBPP's own tests."""
        return tuple(arguments_of(self.task_id, given) for given in json.loads(self.base_input))

    @cached_property
    def plus(self) -> tuple[Arguments, ...]:
        """The arguments of the tests that evalplus added; in an older file some tasks have none."""
        return tuple(arguments_of(self.task_id, given) for given in json.loads(self.plus_input))


def prompt(problem: str) -> str:
    """The user's message: what evalplus sends to a chat model whose answer it does not begin itself.

    Source: evalplus/codegen.py (`instruction_prefix`) and evalplus/provider/openai.py.
    """
    return f"{_REQUEST}\n```python\n{problem.strip()}\n```"
